// SPDX-License-Identifier: Apache-2.0
// The norms of the family table's traits, over the last axis.
#pragma once
#include <ATen/core/Tensor.h>

#include "model/family.h"

namespace suture::model {

struct NormWeights {
  at::Tensor weight, bias;  // either may be undefined; kRmsPlusOne holds 1 + w in fp32
  explicit operator bool() const { return weight.defined(); }
};

// Weights as `normalise` wants them.
NormWeights make_norm(Norm norm, at::Tensor weight, at::Tensor bias);
at::Tensor normalise(Norm norm, const NormWeights& w, const at::Tensor& x, double eps);

}  // namespace suture::model
