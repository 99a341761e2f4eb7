// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include <algorithm>

#include "core/error.h"

namespace suture::text {
namespace {

unsigned char byte_at(std::string_view text, size_t offset) { return static_cast<unsigned char>(text[offset]); }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the well-formed sequence that starts at `offset`, 0 if there is none (Unicode, table 3-7).
size_t sequence_length(std::string_view text, size_t offset) {
  const unsigned char lead = byte_at(text, offset);
  if (lead < 0x80) return 1;
  size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;  // bounds of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  }
  if (length == 0 || offset + length > text.size()) return 0;
  if (byte_at(text, offset + 1) < low || byte_at(text, offset + 1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (!is_continuation(text[offset + i])) return 0;
  }
  return length;
}

}  // namespace

std::optional<size_t> first_invalid_byte(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const size_t length = sequence_length(text, offset);
    if (length == 0) return offset;
    offset += length;
  }
  return std::nullopt;
}

void require_utf8(std::string_view text, std::string_view what) {
  if (const auto offset = first_invalid_byte(text)) fail(Code::kData, "invalid UTF-8 at byte {} of {}", *offset, what);
}

int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); });
}

size_t byte_offset_of(std::string_view text, int64_t index) {
  int64_t seen = 0;
  for (size_t offset = 0; offset < text.size(); ++offset) {
    if (is_continuation(text[offset])) continue;
    if (seen == index) return offset;
    ++seen;
  }
  if (index != seen) fail(Code::kBug, "code point {} is outside a text of {}", index, seen);
  return text.size();
}

int64_t code_point_index_of(std::string_view text, size_t offset) {
  if (offset > text.size()) fail(Code::kBug, "byte {} is outside a text of {} bytes", offset, text.size());
  if (offset == text.size()) return count_code_points(text);
  return count_code_points(text.substr(0, offset + 1)) - 1;
}

std::string slice(std::string_view text, int64_t begin, int64_t end) {
  const size_t from = byte_offset_of(text, begin);
  return std::string(text.substr(from, byte_offset_of(text, end) - from));
}

void append_utf8(std::string& text, uint32_t code_point) {
  if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF)) code_point = 0xFFFD;
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
    return;
  }
  const int extra = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
  constexpr unsigned kLead[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(kLead[extra] | (code_point >> (6 * extra)));
  for (int i = extra - 1; i >= 0; --i) text += static_cast<char>(0x80 | ((code_point >> (6 * i)) & 0x3F));
}

}  // namespace suture::text
