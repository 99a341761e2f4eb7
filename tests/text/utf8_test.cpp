// SPDX-License-Identifier: Apache-2.0
#include "text/utf8.h"

#include "text_fixtures.h"

namespace suture::text {
namespace {

TEST(Utf8, FindsTheFirstBadByte) {
  for (const char* good : {"", "plain", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "é灯😀"}) {
    EXPECT_EQ(first_invalid_byte(good), std::nullopt) << good;
  }
  // RFC 3629, section 4: overlong forms, surrogates, beyond 10FFFF, stray and missing continuation bytes.
  for (const char* bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2",
                          "\xC2"
                          "a",
                          "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
                          "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(first_invalid_byte(std::string("ok ") + bad), 3u)
        << Json(bad).dump(-1, ' ', true, Json::error_handler_t::replace);
  }
}

TEST(Utf8, ConvertsBetweenBytesAndCodePoints) {
  const std::string text = "aé灯😀b";  // 1 + 2 + 3 + 4 + 1 bytes
  EXPECT_EQ(count_code_points(text), 5);
  const std::vector<size_t> offsets = {0, 1, 3, 6, 10, 11};
  for (size_t i = 0; i < offsets.size(); ++i) {
    EXPECT_EQ(byte_offset_of(text, static_cast<int64_t>(i)), offsets[i]);
    EXPECT_EQ(code_point_index_of(text, offsets[i]), static_cast<int64_t>(i));
  }
  EXPECT_EQ(code_point_index_of(text, 8), 3) << "a byte inside a character belongs to it";
  EXPECT_EQ(slice(text, 1, 4), "é灯😀");
  EXPECT_EQ(slice(text, 5, 5), "");
  message_of(Code::kBug, [&] { byte_offset_of(text, 6); });
  message_of(Code::kBug, [&] { byte_offset_of(text, -1); });
}

TEST(Utf8, AppendsCodePoints) {
  std::string text;
  for (const uint32_t code : {0x61u, 0xE9u, 0x706Fu, 0x1F600u}) append_utf8(text, code);
  EXPECT_EQ(text, "aé灯😀");
  append_utf8(text, 0xD800);
  append_utf8(text, 0x110000);
  EXPECT_EQ(text, "aé灯😀\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace suture::text
