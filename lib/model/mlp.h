// SPDX-License-Identifier: Apache-2.0
// The second half of a block: one MLP, or a mixture of experts.
#pragma once
#include <ATen/core/Tensor.h>

#include "model/config.h"
#include "model/linear.h"

namespace suture::model {

struct Mlp {
  Linear up, down;  // up holds gate above up for gated MLPs
};

// F: width of one expert. A token visits the experts that the router chose for it; the shared expert sees every token.
struct Experts {
  Linear router;                                 // [E,D]
  at::Tensor up_E2FD, up_bias_E2F;               // gate above up
  at::Tensor down_EDF, down_bias_ED;             // biases may be undefined
  Linear shared_up, shared_down, shared_router;  // may be empty
};

// [..., F or 2F] → [..., F]: what the down projection reads.
at::Tensor mlp_key(const ModelConfig& config, const at::Tensor& up);
at::Tensor mix_experts(const ModelConfig& config, const Experts& experts, const at::Tensor& x_BTD);

}  // namespace suture::model
