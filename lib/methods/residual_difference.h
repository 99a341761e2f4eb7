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

#include "hook/hooks.h"

namespace suture::methods {

// layer → v_l, fp32 [D]. `with` and `without` hold [N,D] at the block outputs of the layers; N may differ.
std::map<int64_t, at::Tensor> residual_difference(const std::map<hook::Point, at::Tensor>& with,
                                                  const std::map<hook::Point, at::Tensor>& without,
                                                  const std::vector<int64_t>& layers);

}  // namespace suture::methods
