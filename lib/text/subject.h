// SPDX-License-Identifier: Apache-2.0
// From words to tokens: where a subject stands in a text, and which token is its last (section 3 of the ROME paper,
// arXiv 2202.05262, edits there). The whole text is encoded once and mapped by character offsets, so merges across the
// subject's borders and special tokens cannot shift the index.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "text/tokenizer.h"

namespace suture::text {

// Characters of the `occurrence`-th (from 0, left to right, not overlapping) appearance of `subject` in `text`.
// Throws Error(kData) if the subject is empty or appears less often.
Span find_subject(std::string_view text, std::string_view subject, int64_t occurrence = 0);

// How often find_subject can find it.
int64_t count_subject(std::string_view text, std::string_view subject);

// Index of the last token whose characters overlap the span; tokens that stand for no characters are passed over.
// Nothing if no token overlaps.
std::optional<int64_t> last_token_of(const Encoding& encoding, Span subject);

// The same for an encoding of `text`, also where its offsets are useless (some tokenizers give empty spans for tokens
// that do stand for text): then it is the first token by which the decoded text covers the subject. Nothing if neither
// way finds it, which needs a tokenizer whose decoding does not give the text back. Cost: a few decodings, only for
// useless offsets.
std::optional<int64_t> last_token_of(const Tokenizer& tokenizer, std::string_view text, const Encoding& encoding,
                                     Span subject);

}  // namespace suture::text
