// SPDX-License-Identifier: Apache-2.0
// Choosing a token from logits. Greedy by default; sampling draws from one named stream a row, so a row's text does not
// depend on the batch it ran in.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "core/random.h"

namespace suture::decode {

struct Sampling {
  double temperature = 0;  // 0: greedy
  int64_t top_k = 0;       // 0: no limit
  double top_p = 1;
};

// One token a row of logits_BV. `streams` may be empty when greedy. Error(kNumerics) on NaN.
std::vector<int32_t> choose(const at::Tensor& logits_BV, const Sampling& sampling, std::vector<Stream>& streams);

}  // namespace suture::decode
