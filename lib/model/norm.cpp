// SPDX-License-Identifier: Apache-2.0
#include "model/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>

namespace suture::model {

NormWeights make_norm(Norm norm, at::Tensor weight, at::Tensor bias) {
  if (norm == Norm::kRmsPlusOne && weight.defined()) weight = weight.to(at::kFloat) + 1;
  return {std::move(weight), std::move(bias)};
}

at::Tensor normalise(Norm norm, const NormWeights& w, const at::Tensor& x, double eps) {
  const std::vector<int64_t> shape = {x.size(-1)};
  switch (norm) {
    case Norm::kLayer:
    case Norm::kPlain:
      return at::layer_norm(x, shape, w.weight, w.bias, eps);
    case Norm::kRms:
      return at::rms_norm(x, shape, w.weight, eps);
    case Norm::kRmsPlusOne:
      return at::rms_norm(x.to(at::kFloat), shape, w.weight, eps).to(x.scalar_type());
  }
  fail(Code::kBug, "unknown norm");
}

}  // namespace suture::model
