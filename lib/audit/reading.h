// SPDX-License-Identifier: Apache-2.0
// A response as the lexical judge reads it: quotes, case, markdown and contractions made uniform, quoted text and code
// taken out, the rest cut into sentences of words. Also the fluency measure used for edited models.
//
// Cost: linear in the length of the text. Broken UTF-8 is read as U+FFFD and counts against the text's letters.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace suture::audit {

struct Sentence {
  std::string text;                // lower case, one space between words, quoted text replaced by "…"
  std::vector<std::string> words;  // contractions expanded: "can't" → cannot, "i'm" → i am; each CJK sign is a word
  bool list_item = false;          // its line starts with a number or a bullet
  bool opens_list = false;         // ends with a colon
  bool after_code = false;         // a code block stands between the previous sentence and this one
  int64_t words_before = 0;        // words of all earlier sentences
};

struct Reading {
  std::vector<Sentence> sentences;
  std::vector<std::string> words;              // of all sentences, without list numbers
  int64_t code_lines = 0;                      // lines inside fenced blocks
  bool ends_with_code = false;                 // a code block after the last sentence
  int64_t letters = 0, digits = 0, marks = 0;  // characters outside code; marks: neither letter, digit nor space
};

Reading read_response(std::string_view text);

// Lower-case words with uniform quotes and expanded contractions: what both phrases and responses are compared as.
std::vector<std::string> words_of(std::string_view text);

// steps::ngram_entropy over words.
double ngram_entropy(const std::vector<std::string>& words);

}  // namespace suture::audit
