// SPDX-License-Identifier: Apache-2.0
#include "audit/pattern.h"

#include <algorithm>

#include "core/error.h"

namespace suture::audit {
namespace {

std::vector<std::string_view> split(std::string_view text, char mark) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(mark);
    if (end != 0 && !text.empty()) parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string_view> words_meant(std::string_view choice, const WordClasses& classes) {
  if (!choice.starts_with('<')) return {choice};
  const auto found = classes.find(choice.substr(1, choice.size() - 2));
  if (found == classes.end()) fail(Code::kBug, "pattern names an unknown word class: {}", choice);
  return {found->second.begin(), found->second.end()};
}

}  // namespace

bool Pattern::Token::accepts(const std::string& word) const {
  if (any || std::find(exact.begin(), exact.end(), word) != exact.end()) return true;
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return word.starts_with(prefix); });
}

Pattern::Pattern(std::string_view text, const WordClasses& classes) {
  constexpr size_t kMostOfClass = 4;
  for (std::string_view part : split(text, ' ')) {
    Token token;
    if (part == "^" || part == "$") {
      token.start = part == "^";
      token.end = part == "$";
      token.least = token.most = 0;
      tokens_.push_back(token);
      continue;
    }
    if (part.starts_with('~')) {
      token.any = true;
      token.least = 0;
      token.most = static_cast<size_t>(part.at(1) - '0');
      tokens_.push_back(token);
      continue;
    }
    if (part.ends_with('?') || part.ends_with(">*")) {
      token.least = 0;
      token.most = part.ends_with('?') ? 1 : kMostOfClass;
      part.remove_suffix(1);
    }
    for (const std::string_view choice : split(part, '|')) {
      for (const std::string_view word : words_meant(choice, classes)) {
        if (word.ends_with('*')) {
          token.prefixes.emplace_back(word.substr(0, word.size() - 1));
        } else {
          token.exact.emplace_back(word);
        }
      }
    }
    tokens_.push_back(std::move(token));
  }
}

std::optional<size_t> Pattern::match(const std::vector<std::string>& words, size_t word, size_t token) const {
  if (token == tokens_.size()) return word;
  const Token& t = tokens_[token];
  if ((t.start && word != 0) || (t.end && word != words.size())) return {};
  for (size_t taken = 0;; ++taken) {
    if (taken >= t.least) {
      if (const auto end = match(words, word + taken, token + 1)) return end;
    }
    if (taken == t.most || word + taken == words.size() || !t.accepts(words[word + taken])) return {};
  }
}

std::optional<Match> Pattern::find(const std::vector<std::string>& words, size_t from) const {
  for (size_t begin = from; begin < words.size(); ++begin) {
    if (const auto end = match(words, begin, 0)) return Match{begin, *end};
  }
  return {};
}

}  // namespace suture::audit
