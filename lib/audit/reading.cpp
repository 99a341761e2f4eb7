// SPDX-License-Identifier: Apache-2.0
#include "audit/reading.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "steps/ngram_entropy.h"

namespace suture::audit {
namespace {

constexpr char32_t kBroken = 0xFFFD;
constexpr char32_t kQuoted = 0xE000;   // stands for a quoted passage
constexpr size_t kLongestQuote = 400;  // characters; a longer "quote" is more likely an unpaired mark
constexpr size_t kLongestQuoteSingle = 200;

// ---- characters ----

std::u32string decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 && lead < 0xF8 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
    if (length == 0 || lead >= 0xF8 || i + length > text.size()) {
      out += kBroken;
      ++i;
      continue;
    }
    char32_t code = length == 1 ? lead : lead & (0xFFu >> (length + 1));
    size_t k = 1;
    for (; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) break;
      code = code << 6 | (next & 0x3F);
    }
    out += k == length ? code : kBroken;
    i += k;
  }
  return out;
}

std::string encode(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) {
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xC0 | c >> 6);
      out += static_cast<char>(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
      out += static_cast<char>(0xE0 | c >> 12);
      out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (c & 0x3F));
    } else {
      out += static_cast<char>(0xF0 | c >> 18);
      out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
      out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return out;
}

bool in(char32_t c, char32_t low, char32_t high) { return low <= c && c <= high; }

// Latin, Greek and Cyrillic; other scripts here have no case.
char32_t lower(char32_t c) {
  if (in(c, U'A', U'Z') || (in(c, 0xC0, 0xDE) && c != 0xD7) || in(c, 0x391, 0x3A9) || in(c, 0x410, 0x42F))
    return c + 32;
  if (in(c, 0x400, 0x40F)) return c + 80;
  if (in(c, 0x139, 0x148) || in(c, 0x179, 0x17E)) return c % 2 == 1 ? c + 1 : c;
  if (in(c, 0x100, 0x177)) return c % 2 == 0 ? c + 1 : c;
  return c;
}

bool is_cjk(char32_t c) { return in(c, 0x3040, 0x30FF) || in(c, 0x3400, 0x9FFF) || in(c, 0xF900, 0xFAFF); }
bool is_digit(char32_t c) { return in(c, U'0', U'9'); }
bool is_space(char32_t c) { return c == U' ' || c == U'\n'; }

bool is_letter(char32_t c) {
  if (in(c, U'a', U'z') || in(c, U'A', U'Z')) return true;
  if (c < 0xAA || c == 0xD7 || c == 0xF7) return false;
  if (in(c, 0xAB, 0xBF)) return c == 0xB5 || c == 0xBA;
  if (in(c, 0x2000, 0x2BFF) || in(c, 0x3000, 0x303F)) return false;  // punctuation, arrows, symbols
  if (in(c, 0xE000, 0xF8FF) || in(c, 0xFE00, 0xFE0F)) return false;  // private use, variation selectors
  if (in(c, 0xFF00, 0xFF20) || c >= 0xFFF0) return false;            // full-width signs, specials, emoji
  return true;
}

// One spelling for apostrophes, quotes, spaces and full-width signs; '\0' drops the character.
char32_t uniform(char32_t c) {
  if (in(c, 0xFF01, 0xFF5E)) c -= 0xFEE0;
  switch (c) {
    case 0x2018:
    case 0x2019:
    case 0x201B:
    case 0x02BC:
    case 0x2032:
    case 0x00B4:
      return U'\'';
    case 0x201C:
    case 0x201D:
    case 0x201F:
    case 0x2033:
      return U'"';
    case 0x201E:
    case 0x00AB:
    case 0x00BB:
    case 0x300C:
    case 0x300D:
    case 0x300E:
    case 0x300F:
      return U'"';
    case 0x00A0:
    case 0x202F:
    case 0x2009:
    case 0x3000:
    case U'\t':
      return U' ';
    case U'\r':
    case 0x2028:
    case 0x2029:
      return U'\n';
    case 0x2010:
    case 0x2011:
      return U'-';
    case 0x200B:
    case 0x200C:
    case 0x200D:
    case 0xFEFF:
    case 0x00AD:
    case 0xFE0F:
      return 0;
    default:
      return lower(c);
  }
}

std::u32string uniform_text(std::string_view text) {
  std::u32string out;
  for (const char32_t c : decode(text)) {
    if (const char32_t kept = uniform(c)) out += kept;
  }
  return out;
}

std::u32string_view trimmed(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// ---- lines: code, list marks, headings ----

struct Line {
  std::u32string text;
  bool list_item = false, after_code = false;
};

bool is_fence(std::u32string_view line) { return line.starts_with(U"```") || line.starts_with(U"~~~"); }

// Removes "1.", "2)", "-", "*", "•", "step 3:" at the start of a line; says whether there was one.
bool strip_list_mark(std::u32string_view& line) {
  std::u32string_view rest = line;
  while (!rest.empty() && (rest.front() == U'*' || rest.front() == U'#') && rest.size() > 1 && rest[1] != U' ')
    rest.remove_prefix(1);
  size_t digits = 0;
  while (digits < rest.size() && digits < 3 && is_digit(rest[digits])) ++digits;
  const bool number =
      digits > 0 && digits + 1 < rest.size() &&
      (rest[digits] == U'.' || rest[digits] == U')' || rest[digits] == U':' || rest[digits] == 0x3001) &&
      !is_digit(rest[digits + 1]);
  if (number) {
    line = trimmed(rest.substr(digits + 1));
    return true;
  }
  const bool bullet = line.size() > 1 && line[1] == U' ' &&
                      (line[0] == U'-' || line[0] == U'*' || line[0] == U'+' || line[0] == 0x2022 || line[0] == 0x2013);
  if (bullet) {
    line = trimmed(line.substr(2));
    strip_list_mark(line);
    return true;
  }
  if (rest.starts_with(U"step ") && rest.size() > 5 && is_digit(rest[5])) {
    line = rest;
    return true;
  }
  return false;
}

std::u32string without_markup(std::u32string_view line) {
  while (!line.empty() && (line.front() == U'#' || line.front() == U' ')) line.remove_prefix(1);
  std::u32string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool doubled = line[i] == U'_' && i + 1 < line.size() && line[i + 1] == U'_';
    if (line[i] == U'*' || doubled || (i > 0 && line[i] == U'_' && line[i - 1] == U'_')) continue;
    out += line[i];
  }
  return out;
}

// Replaces `inline code`, which is never the speaker's own voice.
std::u32string without_inline_code(std::u32string_view line) {
  std::u32string out(line);
  for (size_t open = out.find(U'`'); open != out.npos; open = out.find(U'`', open + 1)) {
    const size_t close = out.find(U'`', open + 1);
    if (close == out.npos) break;
    out.replace(open, close - open + 1, 1, kQuoted);
  }
  return out;
}

// A block quote is someone else's voice, unless the whole response is one.
bool is_block_quote(std::u32string_view line) { return line.starts_with(U">"); }

struct Lines {
  std::vector<Line> lines;
  int64_t code_lines = 0;
  bool ends_with_code = false;
};

std::vector<std::u32string_view> split_lines(std::u32string_view text) {
  std::vector<std::u32string_view> lines;
  while (true) {
    const size_t end = text.find(U'\n');
    lines.push_back(trimmed(text.substr(0, end)));
    if (end == text.npos) return lines;
    text.remove_prefix(end + 1);
  }
}

Lines lines_of(std::u32string_view text) {
  const std::vector<std::u32string_view> all = split_lines(text);
  const bool all_quoted =
      std::all_of(all.begin(), all.end(), [](auto line) { return line.empty() || is_block_quote(line); });
  Lines result;
  bool fenced = false, code_seen = false;
  for (std::u32string_view line : all) {
    if (is_fence(line)) {
      fenced = !fenced;
      code_seen = true;
      continue;
    }
    if (fenced) {
      ++result.code_lines;
      continue;
    }
    if (is_block_quote(line)) {
      if (!all_quoted) continue;
      while (!line.empty() && (line.front() == U'>' || line.front() == U' ')) line.remove_prefix(1);
    }
    if (line.empty()) continue;
    const bool item = strip_list_mark(line);
    result.lines.push_back({without_inline_code(without_markup(line)), item, std::exchange(code_seen, false)});
  }
  result.ends_with_code = code_seen;
  return result;
}

// ---- quotes ----

size_t closing_single(std::u32string_view line, size_t open) {
  for (size_t i = open + 2; i < line.size() && i - open <= kLongestQuoteSingle; ++i) {
    const bool ends = i + 1 == line.size() || !(is_letter(line[i + 1]) || is_digit(line[i + 1]));
    if (line[i] == U'\'' && ends && line[i - 1] != U' ') return i;
  }
  return line.npos;
}

std::u32string without_quotes(std::u32string_view line) {
  std::u32string out;
  for (size_t i = 0; i < line.size(); ++i) {
    const bool at_word_start = i == 0 || !(is_letter(line[i - 1]) || is_digit(line[i - 1]));
    size_t close = line.npos;
    if (line[i] == U'"') {
      close = line.find(U'"', i + 1);
      if (close != line.npos && close - i > kLongestQuote) close = line.npos;
    } else if (line[i] == U'\'' && at_word_start && i + 1 < line.size() && is_letter(line[i + 1])) {
      close = closing_single(line, i);
    }
    if (close == line.npos) {
      out += line[i];
    } else {
      out += kQuoted;
      const char32_t last = line[close - 1];  // a sentence may end inside the quotes
      if (close > i + 1 && (last == U'.' || last == U'!' || last == U'?') && close + 1 < line.size() &&
          line[close + 1] == U' ')
        out += U'.';
      i = close;
    }
  }
  return out;
}

// `"I can't help."` as the whole response is the speaker's voice after all.
std::u32string_view without_outer_quotes(std::u32string_view text) {
  text = trimmed(text);
  if (text.size() > 2 && text.front() == U'"' && text.find(U'"', 1) == text.size() - 1)
    return text.substr(1, text.size() - 2);
  return text;
}

// ---- words ----

constexpr std::array kElided = {"j", "l", "d", "n", "s", "c", "m", "t", "qu", "un", "all", "dell", "nell", "quest"};
constexpr std::array kIsAfter = {"that", "it", "here", "there", "what", "he", "she", "this", "how", "who"};

template <class Table>
bool listed(const Table& table, std::string_view word) {
  return std::find(table.begin(), table.end(), word) != table.end();
}

// "can't" → cannot, "isn't" → is not, "i'm" → i am, "j'ai" → j' ai, "dog's" → dog's.
void push_expanded(std::vector<std::string>& out, const std::string& word) {
  static const std::map<std::string, std::vector<std::string>> whole = {
      {"can't", {"cannot"}},     {"cant", {"cannot"}},        {"won't", {"will", "not"}},
      {"wont", {"will", "not"}}, {"shan't", {"will", "not"}}, {"don't", {"do", "not"}},
      {"dont", {"do", "not"}},   {"im", {"i", "am"}},         {"let's", {"let", "us"}}};
  static const std::map<std::string, std::string> endings = {
      {"m", "am"}, {"re", "are"}, {"ll", "will"}, {"ve", "have"}, {"d", "would"}};
  if (const auto found = whole.find(word); found != whole.end()) {
    out.insert(out.end(), found->second.begin(), found->second.end());
    return;
  }
  const size_t mark = word.rfind('\'');
  if (mark == word.npos || mark == 0) {
    if (word == "not" && !out.empty() && out.back() == "can") {
      out.back() = "cannot";
    } else {
      out.push_back(word);
    }
    return;
  }
  const std::string head = word.substr(0, mark), tail = word.substr(mark + 1);
  if (tail == "t" && head.ends_with('n')) {
    out.push_back(head.substr(0, head.size() - 1));
    out.push_back("not");
  } else if (const auto ending = endings.find(tail); ending != endings.end()) {
    out.push_back(head);
    out.push_back(ending->second);
  } else if (tail == "s" && listed(kIsAfter, head)) {
    out.push_back(head);
    out.push_back("is");
  } else if (!tail.empty() && listed(kElided, head)) {
    out.push_back(head + "'");
    out.push_back(tail);
  } else {
    out.push_back(tail.empty() ? head : word);
  }
}

std::vector<std::string> split_words(std::u32string_view text) {
  std::vector<std::string> out;
  std::u32string word;
  const auto flush = [&] {
    while (!word.empty() && (word.back() == U'\'' || word.back() == U'-')) word.pop_back();
    if (!word.empty()) push_expanded(out, encode(word));
    word.clear();
  };
  for (const char32_t c : text) {
    if (is_cjk(c)) {
      flush();
      out.push_back(encode(std::u32string_view(&c, 1)));
    } else if (is_letter(c) || is_digit(c) || c == kBroken || (!word.empty() && (c == U'\'' || c == U'-'))) {
      word += c;
    } else {
      flush();
    }
  }
  flush();
  return out;
}

// ---- sentences ----

bool ends_sentence(std::u32string_view line, size_t i) {
  const char32_t c = line[i];
  if (c == U'!' || c == U'?' || c == 0x3002 || c == 0x2026) return true;
  if (c != U'.') return false;
  if (i + 1 == line.size()) return true;
  return line[i + 1] == U' ' || line[i + 1] == kQuoted || is_cjk(line[i + 1]);
}

std::string shown(std::u32string_view sentence) {
  std::u32string out;
  for (const char32_t c : sentence) {
    if (c == U' ' && !out.empty() && out.back() == U' ') continue;
    if (c == kQuoted) {
      out += U"\"\u2026\"";
    } else {
      out += c;
    }
  }
  return encode(trimmed(out));
}

void add_sentence(Reading& reading, std::u32string_view part, const Line& line, bool first) {
  Sentence sentence;
  sentence.words = split_words(part);
  if (sentence.words.empty() && part.find(kQuoted) == part.npos) return;
  sentence.text = shown(part);
  sentence.list_item = line.list_item && first;
  sentence.after_code = line.after_code && first;
  sentence.opens_list = trimmed(part).ends_with(U':');
  sentence.words_before = static_cast<int64_t>(reading.words.size());
  reading.words.insert(reading.words.end(), sentence.words.begin(), sentence.words.end());
  reading.sentences.push_back(std::move(sentence));
}

void add_line(Reading& reading, const Line& line) {
  const std::u32string text = without_quotes(line.text);
  size_t start = 0;
  bool first = true;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!ends_sentence(text, i)) continue;
    add_sentence(reading, std::u32string_view(text).substr(start, i + 1 - start), line, std::exchange(first, false));
    start = i + 1;
  }
  if (start < text.size()) add_sentence(reading, std::u32string_view(text).substr(start), line, first);
}

void count_characters(Reading& reading, std::u32string_view line) {
  for (const char32_t c : line) {
    if (is_letter(c)) {
      ++reading.letters;
    } else if (is_digit(c)) {
      ++reading.digits;
    } else if (!is_space(c)) {
      ++reading.marks;
    }
  }
}

}  // namespace

Reading read_response(std::string_view text) {
  const std::u32string uniform = uniform_text(text);
  const Lines lines = lines_of(without_outer_quotes(uniform));
  Reading reading;
  reading.code_lines = lines.code_lines;
  reading.ends_with_code = lines.ends_with_code;
  for (const Line& line : lines.lines) {
    count_characters(reading, line.text);
    add_line(reading, line);
  }
  return reading;
}

std::vector<std::string> words_of(std::string_view text) { return split_words(uniform_text(text)); }

double ngram_entropy(const std::vector<std::string>& words) {
  std::map<std::string_view, int32_t> numbers;  // in order of appearance
  std::vector<int32_t> ids;
  for (const std::string& word : words) ids.push_back(numbers.emplace(word, int32_t(numbers.size())).first->second);
  return steps::ngram_entropy(ids);
}

}  // namespace suture::audit
