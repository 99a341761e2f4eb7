// SPDX-License-Identifier: Apache-2.0
// Uncentred second moment of a layer's MLP keys, C = E[k kᵀ] (ROME, arXiv 2202.05262, section 3.1 and appendix E.5),
// over given texts or over texts that the model writes itself.
#pragma once
#include "decode/language_model.h"
#include "tensor/moments.h"

namespace suture::steps {

// Texts sampled from the model at temperature 1 until `tokens` tokens are there: an ordinary sentence opening and at
// most `length` further tokens each. Deterministic in `seed`.
std::vector<std::vector<int32_t>> self_written(const decode::LanguageModel& model, int64_t tokens, int64_t length,
                                               uint64_t seed);

// A file's paragraphs (.txt: split at blank lines; data sets: column `text`), cut to `length` tokens, until `tokens`
// are there; 0: all.
std::vector<std::vector<int32_t>> texts_of(const decode::LanguageModel& model, const fs::path& path, int64_t tokens,
                                           int64_t length);

// Forward up to the layer only; every token counts.
tensor::SecondMoment second_moment(const model::Transformer& model, int64_t layer,
                                   const std::vector<std::vector<int32_t>>& texts);

std::vector<std::string> paragraphs(const std::string& text);

}  // namespace suture::steps
