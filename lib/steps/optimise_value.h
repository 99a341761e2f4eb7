// SPDX-License-Identifier: Apache-2.0
// The vector that, added to one layer's MLP output at the subject's last token, makes a model predict a target.
//
// Source: Meng et al., Locating and Editing Factual Associations in GPT (arXiv 2202.05262), section 3.1 step 2, eq. 4.
// Loss = mean_j [ −(1/n) Σ_i log P(target_i | context_j) ] + kl_factor · KL(P_δ ‖ P_0) + weight_decay · ‖δ‖ / ‖v_0‖²
// with Adam on δ and ‖δ‖ ≤ clamp·‖v_0‖ after every step; stops early below `loss_stop`.
// Cost: tokens before the subject are run once; layers up to the edited one are run once; each step runs the layers
// above it on the tokens from the subject on, forward and backward. fp32.
#pragma once
#include "model/transformer.h"

namespace suture::steps {

struct ValueRow {
  std::vector<int32_t> ids;
  int64_t subject = 0;  // index of the subject's last token
};

struct ValueProblem {
  std::vector<ValueRow>
      contexts;  // templates ∘ prompt, then the target without its last token; row 0 is the bare prompt
  std::vector<int32_t> target;  // predicted by the last target.size() positions of every context
  ValueRow essence;             // "{subject} is a": its next-token distribution at the subject is kept (the KL term)
};

struct ValueOptions {
  int64_t layer = 0;
  int64_t steps = 20;
  double learning_rate = 0.5;
  double weight_decay = 0.5;
  double clamp = 4;
  double kl_factor = 0.0625;
  double loss_stop = 0.05;
};

struct ValueResult {
  at::Tensor delta_D;                      // δ
  at::Tensor before_D;                     // v_0: MLP output at the subject in the bare prompt
  at::Tensor keys_NF;                      // input of the down projection at the subject, a context each
  at::Tensor values_ND;                    // MLP output there, a context each
  std::vector<double> loss, nll, kl;       // per evaluation
  std::vector<double> target_probability;  // exp(−nll of the bare prompt) per evaluation
};

// The model must be loaded in fp32 on any device.
ValueResult optimise_value(const model::Transformer& model, const ValueProblem& problem, const ValueOptions& options);

}  // namespace suture::steps
