// SPDX-License-Identifier: Apache-2.0
// Safety amplification: SafeInfer (Banerjee et al., arXiv 2406.12274), section 3, equations 1–3; heads chosen as in
// Todd et al., Function Vectors (ICLR 2024), section 2.3.
//
//   ā_{l,j} = (1/|P|) Σ_p a_{l,j}(p)     mean output of head (l,j) at the last token of safe few-shot prompts   (eq. 1)
//   SV      = Σ_{(l,j) ∈ A} W_O^{l,j} ā_{l,j}    W_O^{l,j}: the output projection's columns of that head        (eq. 2)
//   h'_l    = h_l + γ·SV                          applied by a plan, at a block's output                         (eq.
//   3)
//
// Deviations: the heads A are ranked on safety data (effect on the probability of refusing), the paper takes a list
// made for other tasks, and such a list can be given here; the projection's bias is not added (the authors' code adds
// it once a head); head width is the projection's input over the number of heads, not width over heads; a head counts
// once.
#pragma once
#include <map>
#include <vector>

#include "model/transformer.h"

namespace suture::methods {

struct Head {
  int64_t layer = 0, head = 0;
  double score = 0;  // average indirect effect; NaN for a given list
  bool operator==(const Head&) const = default;
};

// Where the heads' outputs are read: one point a layer.
std::vector<hook::Point> head_points(const model::ModelConfig& config);

// Mean output of every head over the prompts, fp32 [L,H,d]; `last_token` holds [N,H·d] for each head point (eq. 1).
at::Tensor mean_heads(const model::ModelConfig& config, const std::map<hook::Point, at::Tensor>& last_token);

// The k heads with the largest score, best first; ties by layer, then head.
std::vector<Head> top_heads(const at::Tensor& score_LH, int64_t k);

// A given list, checked against the model and freed of duplicates.
std::vector<Head> given_heads(const model::ModelConfig& config, const std::vector<std::vector<int64_t>>& list);

// SV, fp32 [D].
at::Tensor safety_vector(const model::Transformer& model, const at::Tensor& mean_LHd, const std::vector<Head>& heads);

}  // namespace suture::methods
