// SPDX-License-Identifier: Apache-2.0
#include "text/subject.h"

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "text/utf8.h"

namespace suture::text {

int64_t count_subject(std::string_view text, std::string_view subject) {
  if (subject.empty()) return 0;
  int64_t count = 0;
  for (size_t at = text.find(subject); at != text.npos; at = text.find(subject, at + subject.size())) ++count;
  return count;
}

Span find_subject(std::string_view text, std::string_view subject, int64_t occurrence) {
  if (subject.empty()) fail(Code::kData, "cannot find an empty subject in '{}'", text);
  if (occurrence < 0)
    fail(Code::kData, "cannot use occurrence {} of subject '{}': want 0 or more", occurrence, subject);
  size_t at = text.find(subject);
  for (int64_t i = 0; i < occurrence && at != text.npos; ++i) at = text.find(subject, at + subject.size());
  if (at == text.npos) {
    const int64_t count = count_subject(text, subject);
    if (count == 0) fail(Code::kData, "subject '{}' does not appear in '{}'", subject, text);
    fail(Code::kData, "cannot use occurrence {} of subject '{}': it appears {} time{} in '{}' (counted from 0)",
         occurrence, subject, count, count == 1 ? "" : "s", text);
  }
  const int64_t begin = code_point_index_of(text, at);
  return {begin, begin + count_code_points(subject)};
}

std::optional<int64_t> last_token_of(const Encoding& encoding, Span subject) {
  for (size_t i = encoding.offsets.size(); i > 0; --i) {
    const Span token = encoding.offsets[i - 1];
    const bool overlaps = std::max(token.begin, subject.begin) < std::min(token.end, subject.end);
    if (overlaps) return static_cast<int64_t>(i - 1);
  }
  return std::nullopt;
}

namespace {

// Tokens that stand for no text may have an empty span; special ones always do or cover their spelling.
bool are_useful(const Tokenizer& tokenizer, const Encoding& encoding) {
  int64_t last = 0;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const Span span = encoding.offsets[i];
    if (tokenizer.is_special(encoding.ids[i])) continue;
    if (span.end <= span.begin || span.begin < last) return false;
    last = span.begin;
  }
  return true;
}

// Fewest leading tokens whose text starts with `prefix`.
std::optional<size_t> tokens_that_cover(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                                        std::string_view prefix) {
  const std::span<const int32_t> all(ids);
  const auto covers = [&](size_t count) { return tokenizer.decode(all.first(count), true).starts_with(prefix); };
  if (!covers(ids.size())) return std::nullopt;
  size_t none = 0, enough = ids.size();  // more tokens never cover less
  while (enough - none > 1) {
    const size_t middle = none + (enough - none) / 2;
    (covers(middle) ? enough : none) = middle;
  }
  return enough;
}

}  // namespace

std::optional<int64_t> last_token_of(const Tokenizer& tokenizer, std::string_view text, const Encoding& encoding,
                                     Span subject) {
  if (are_useful(tokenizer, encoding)) return last_token_of(encoding, subject);
  if (subject.end <= subject.begin) return std::nullopt;
  const std::string prefix = slice(text, 0, subject.end);
  const auto count = tokens_that_cover(tokenizer, encoding.ids, prefix);
  if (!count) return last_token_of(encoding, subject);
  return static_cast<int64_t>(*count) - 1;
}

}  // namespace suture::text
