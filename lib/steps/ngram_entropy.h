// SPDX-License-Identifier: Apache-2.0
// Fluency of a text (ROME's "n-gram entropy"): Shannon entropy in bits of the bigrams times 2/3 and of the trigrams
// times 4/3, averaged. Over tokens, or over words as numbers. Fewer than three ids give 0.
#pragma once
#include <cstdint>
#include <vector>

namespace suture::steps {

double ngram_entropy(const std::vector<int32_t>& ids);

}  // namespace suture::steps
