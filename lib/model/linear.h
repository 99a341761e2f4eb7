// SPDX-License-Identifier: Apache-2.0
// A linear map that picks the fastest kernel the processor has for its dtype.
//
// Weights are kept once, in the compute dtype. On a CPU without bf16/fp16 matrix instructions LibTorch's half-precision
// products of many rows run several times slower than fp32 ones, so there the weight is widened call by call: same
// storage, fp32 accumulation as before, results rounded to the compute dtype.
#pragma once
#include <ATen/core/Tensor.h>

namespace suture::model {

// Whether this processor has bf16 matrix instructions that LibTorch uses.
bool multiplies_halves_natively();

class Linear {
 public:
  Linear() = default;
  Linear(at::Tensor weight_OI, at::Tensor bias_O) : weight_(std::move(weight_OI)), bias_(std::move(bias_O)) {}

  at::Tensor operator()(const at::Tensor& x) const;  // [..., I] → [..., O]
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& bias() const { return bias_; }  // may be undefined
  int64_t in() const { return weight_.size(1); }
  int64_t out() const { return weight_.size(0); }
  explicit operator bool() const { return weight_.defined(); }

 private:
  at::Tensor weight_, bias_;
};

}  // namespace suture::model
