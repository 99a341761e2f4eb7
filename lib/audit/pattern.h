// SPDX-License-Identifier: Apache-2.0
// Word patterns for the lexical judge: small enough to read in a table, exact enough to test.
//
// A pattern is a row of tokens separated by spaces:
//   help|assist   one of these words        help*   a word that starts so       mit?   this word or none
//   ~3            up to three words         <serve> one word of a class         <adv>* up to four words of a class
//   ^             start of the sentence     $       end of the sentence
// A class may stand among the alternatives: <serve>|do.
// Words are those of reading.h (lower case, "can't" read as "cannot").
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace suture::audit {

// True when the text has a word to match, so that no table row can match everything.
constexpr bool matches_something(std::string_view pattern) {
  bool in_word = false, significant = false;
  for (size_t i = 0; i <= pattern.size(); ++i) {
    const char c = i < pattern.size() ? pattern[i] : ' ';
    if (c == ' ') {
      if (in_word && significant && pattern[i - 1] != '?' && !(pattern[i - 1] == '*' && i > 1 && pattern[i - 2] == '>'))
        return true;
      in_word = significant = false;
    } else {
      if (!in_word) significant = c != '~' && c != '^' && c != '$' && c != '*' && c != '|';
      in_word = true;
    }
  }
  return false;
}

template <class Table>
constexpr bool all_match_something(const Table& table) {
  for (const auto& pattern : table) {
    if (!matches_something(pattern)) return false;
  }
  return true;
}

using WordClasses = std::map<std::string, std::vector<std::string>, std::less<>>;  // words as in a pattern token

struct Match {
  size_t begin = 0, end = 0;  // words [begin, end)
};

class Pattern {
 public:
  Pattern(std::string_view text, const WordClasses& classes);
  // The first place where the pattern matches at or after word `from`, with its shortest end.
  std::optional<Match> find(const std::vector<std::string>& words, size_t from = 0) const;

 private:
  struct Token {
    std::vector<std::string> exact, prefixes;
    size_t least = 1, most = 1;
    bool any = false, start = false, end = false;
    bool accepts(const std::string& word) const;
  };
  std::optional<size_t> match(const std::vector<std::string>& words, size_t word, size_t token) const;
  std::vector<Token> tokens_;
};

}  // namespace suture::audit
