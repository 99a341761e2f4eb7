// SPDX-License-Identifier: Apache-2.0
// UTF-8: validation, and conversion between byte offsets and code point indices.
// Indices of text are code points everywhere in suture (as in transformers' offset_mapping); bytes only here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace suture::text {

// Offset of the first byte that does not belong to well-formed UTF-8 (RFC 3629: no overlong forms, surrogates, or code
// points above 10FFFF); nothing if all is well.
std::optional<size_t> first_invalid_byte(std::string_view text);

// Throws Error(kData) "invalid UTF-8 at byte N of <what>".
void require_utf8(std::string_view text, std::string_view what);

// The functions below expect valid UTF-8.

int64_t count_code_points(std::string_view text);

// Byte offset at which code point `index` starts; the size of the text for index == count_code_points(text).
// Throws Error(kBug) beyond that.
size_t byte_offset_of(std::string_view text, int64_t index);

// Index of the code point that holds byte `offset`; count_code_points(text) for offset == text.size().
int64_t code_point_index_of(std::string_view text, size_t offset);

// Code points [begin, end) of the text.
std::string slice(std::string_view text, int64_t begin, int64_t end);

// Appends one code point (a scalar value; others become U+FFFD).
void append_utf8(std::string& text, uint32_t code_point);

}  // namespace suture::text
