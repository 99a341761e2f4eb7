// SPDX-License-Identifier: Apache-2.0
// Residual difference: what safe demonstrations in front of a question do to the residual stream at its last token.
//
//   v_l = mean_q h_l([demonstrations; q]) − mean_q h_l(q)
//
// The difference of means of the in-context vector literature (for a plain statement: Rimsky et al., arXiv 2312.06681,
// section 3), with the same questions on both sides so that only the demonstrations differ.
#pragma once
#include <map>
#include <vector>

#include "model/transformer.h"

namespace suture::methods {

// layer → v_l, fp32 [D], at block outputs. `with` and `without` need not be of equal size.
std::map<int64_t, at::Tensor> residual_difference(const model::Transformer& model, const std::vector<std::vector<int32_t>>& with,
                                                  const std::vector<std::vector<int32_t>>& without, const std::vector<int64_t>& layers);

}  // namespace suture::methods
