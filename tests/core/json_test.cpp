// SPDX-License-Identifier: Apache-2.0
#include "core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "temp_folder.h"

namespace suture {
namespace {

std::string complaint(std::string_view text) {
  try {
    parse_json(text, "t.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kData);
    return error.what();
  }
  return "accepted";
}

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"({"b": 1, "a": [true, null, "x"]})", "t").dump(), R"({"b":1,"a":[true,null,"x"]})");
}

TEST(Json, RefusesDuplicateKeysAtAnyDepth) {
  EXPECT_EQ(complaint(R"({"a": 1, "a": 2})"), "cannot read t.json: duplicate key 'a'");
  EXPECT_EQ(complaint(R"([{"b": {"c": 1, "d": 2, "c": 3}}])"), "cannot read t.json: duplicate key 'c'");
}

TEST(Json, TheSameKeyInTwoObjectsIsFine) {
  EXPECT_EQ(complaint(R"({"a": {"k": 1}, "b": [{"k": 2}, {"k": 3}]})"), "accepted");
}

TEST(Json, ErrorsNameLineAndColumn) {
  EXPECT_THAT(complaint("{\n  \"a\": 1,\n  \"b\": x\n}"),
              testing::StartsWith("cannot read t.json:3:8: not valid JSON: "));
  EXPECT_THAT(complaint("[1, 2"), testing::StartsWith("cannot read t.json:1:"));
  EXPECT_THAT(complaint(""), testing::StartsWith("cannot read t.json:1:1: not valid JSON: "));
  EXPECT_THAT(complaint("{} {}"), testing::StartsWith("cannot read t.json:1:4: not valid JSON: "));
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text : {"{'a': 1}", "[1,]", "NaN", "// c\n1", "01", "\"\xff\""})
    EXPECT_NE(complaint(text), "accepted") << text;
}

TEST(Json, TextReadsBackTheSame) {
  const Json value = {{"third", 1.0 / 3}, {"tiny", 5e-324}, {"big", 18446744073709551615ULL}, {"text", "é\n"}};
  const std::string text = to_text(value);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(parse_json(text, "t"), value);
}

TEST(Json, NotANumberBecomesNull) { EXPECT_EQ(to_text(Json{{"x", std::nan("")}}), "{\n  \"x\": null\n}\n"); }

TEST(Json, ReadsAFileWithAByteOrderMark) {
  const test::TempFolder folder;
  std::ofstream(folder / "x.json") << "\xEF\xBB\xBF{\"a\": 1}";
  EXPECT_EQ(read_json(folder / "x.json")["a"], 1);
}

}  // namespace
}  // namespace suture
