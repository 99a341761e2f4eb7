// SPDX-License-Identifier: Apache-2.0
// Causal indirect effect of every attention head on the probability of a set of answer tokens.
//
// Source: Todd et al., Function Vectors in Large Language Models (ICLR 2024), equations 3–5; as used by SafeInfer
// (arXiv 2406.12274, section 3). For a corrupted prompt, head (l,h)'s output at the last token is replaced by its mean
// over clean prompts, and the change of the answer's probability is the effect. Cost: only the last token changes, so a
// prompt is run once; then one pass over the layers carries, as rows of one batch, the variants of all layers below:
// L·H rows at the top instead of L·H forward passes.
#pragma once
#include "model/transformer.h"

namespace suture::steps {

struct HeadEffects {
  at::Tensor effect_PLH;       // fp32, probability after minus before, per prompt
  std::vector<double> before;  // probability of the answer set on the corrupted prompt
  at::Tensor mean_LH() const;  // average indirect effect
};

// mean_LHd: fp32, the heads' mean outputs. `answers`: token ids whose probabilities are summed.
HeadEffects head_effects(const model::Transformer& model, const std::vector<std::vector<int32_t>>& corrupted,
                         const at::Tensor& mean_LHd, const std::vector<int32_t>& answers);

}  // namespace suture::steps
