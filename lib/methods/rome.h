// SPDX-License-Identifier: Apache-2.0
// ROME and r-ROME: one fact, one rank-one change of one MLP down projection.
//
// Sources: Meng et al., arXiv 2202.05262, section 3.1, equations 2–4; Gupta et al., Rebuilding ROME, arXiv 2403.07175,
// section 4.
//
//   k*  = mean_j k(context_j ∘ prompt, last subject token)           key
//   v*  = v + δ, δ from steps/optimise_value                         value
//   u   = C⁻¹ k*                                                     C = E[k kᵀ], second moment of the keys
//   r-ROME  W ← W + (v* − W k*) uᵀ / (uᵀ k*)                         the same averaged k* in every place
//   ROME    W ← W + (v* − W k_p) uᵀ / (uᵀ k_p)                       k_p: key of the bare prompt
//
// v* is the bare prompt's output v₀ + δ in both, so ROME's numerator is δ and r-ROME's is δ plus what the bare prompt's
// output has over the mean of the contexts' outputs.
// Deviations: C gets a ridge (a share of its mean diagonal) and is factorised in fp64 instead of inverted; target ids
// are appended as ids, not decoded and encoded again.
#pragma once
#include "core/json.h"
#include "steps/optimise_value.h"
#include "tensor/solve.h"

namespace suture::methods {

enum class KeySource { kAveraged, kBarePrompt };  // r-ROME, ROME

struct RomeOptions {
  steps::ValueOptions value;
  KeySource key_source = KeySource::kAveraged;
};

struct RomeEdit {
  at::Tensor left_O;   // Λ = (v* − W k − b) / (uᵀ k)
  at::Tensor right_I;  // u = C⁻¹ k* / ‖C⁻¹ k*‖
  steps::ValueResult value;
  Json record;  // norms, losses, condition: everything a manifest should say about the edit
};

// `moment` may be null: u = k*/‖k*‖ then (C = I). The model is not changed. Error(kNumerics) when uᵀk vanishes.
RomeEdit rome(const model::Transformer& model, const steps::ValueProblem& problem, const tensor::SpdSolver* moment,
              const RomeOptions& options);

}  // namespace suture::methods
