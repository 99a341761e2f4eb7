// SPDX-License-Identifier: Apache-2.0
#include "model/linear.h"

#include <ATen/ops/linear.h>

namespace suture::model {
namespace {

// Rows up to which LibTorch's own half-precision matrix-vector kernel is faster than widening the weight.
constexpr int64_t kFewRows = 2;

}  // namespace

bool multiplies_halves_natively() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") > 0;
#else
  return false;
#endif
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  const bool half = weight_.scalar_type() == at::kBFloat16 || weight_.scalar_type() == at::kHalf;
  const int64_t rows = x.numel() / x.size(-1);
  if (!half || !weight_.is_cpu() || rows <= kFewRows || multiplies_halves_natively())
    return bias_.defined() ? at::linear(x, weight_, bias_) : at::linear(x, weight_);
  const at::Tensor wide = weight_.to(at::kFloat);
  const at::Tensor y =
      bias_.defined() ? at::linear(x.to(at::kFloat), wide, bias_.to(at::kFloat)) : at::linear(x.to(at::kFloat), wide);
  return y.to(weight_.scalar_type());
}

}  // namespace suture::model
