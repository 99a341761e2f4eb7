// SPDX-License-Identifier: Apache-2.0
// Safety-guided decoding: SafeInfer (Banerjee et al., arXiv 2406.12274), section 3, equations 4–6.
//
//   union     C ∝ max(p, u)                             p: the model, u: the harmful model
//   result    log s = [log p − λ·log C] / (1 − λ) − log Z
//         =>  log s = log p + λ/(1−λ) · min(0, log p − log u) − log Z
//
// Tokens that the model likes at least as much as the harmful one keep their mutual odds; the others are vetoed by the
// power λ/(1−λ) of their ratio (99 at λ = 0.99). Deviation from the paper's text: equation 6 is normalised by 1 − λ, as
// the authors' code does; without that the result is nearly uniform. λ = 0 or u = p gives p.
#pragma once
#include <ATen/core/Tensor.h>

namespace suture::methods {

// log_p_BV, log_u_BV: natural log-probabilities, fp32 or fp64, same shape; −inf allowed. Returns normalised log s of
// the same dtype. Error(kConfig) unless 0 <= lambda < 1; Error(kModel) when the vocabularies differ; Error(kBug) for
// halves, whose rounding the power would turn into noise.
at::Tensor guided_log_probs(const at::Tensor& log_p_BV, const at::Tensor& log_u_BV, double lambda);

}  // namespace suture::methods
