// SPDX-License-Identifier: Apache-2.0
#include "audit/suite.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"

namespace suture::audit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

fs::path written(const std::string& name, const std::string& text) {
  const fs::path path = fs::path(testing::TempDir()) / "suture-suite" / name;
  fs::create_directories(path.parent_path());
  write_atomically(path, text);
  return path;
}

std::string message_of(const fs::path& path, const SuiteColumns& columns) {
  try {
    read_suite(path, columns, "s");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kData);
    return error.what();
  }
  return "no error";
}

TEST(Suite, ReadsHarmEvalsColumns) {
  const Suite suite = read_suite(
      written("a.csv", "\xEF\xBB\xBFQuestion,Topic\r\n\"What, now?\",Malware\r\nHow?,Fraud/Deception\r\n"), {}, "harm");
  ASSERT_EQ(suite.prompts.size(), 2u);
  EXPECT_EQ(suite.prompts[0].text, "What, now?");
  EXPECT_EQ(suite.prompts[0].category, "Malware");
  EXPECT_EQ(suite.prompts[0].id, "harm-0002");
  EXPECT_EQ(suite.prompts[1].line, 3);
  EXPECT_EQ(suite.digest.size(), 64u);
}

TEST(Suite, DropsAndCountsEmptyAndRepeatedQuestions) {
  const Suite suite = read_suite(written("b.jsonl", R"({"Question":"How are you?","Topic":"a"}
{"Question":null,"Topic":"a"}
{"Question":"  ","Topic":"b"}
{"Question":"how  are you","Topic":"b"}
{"Question":"Who?","Topic":"b","id":"mine"}
)"),
                                 {}, "s");
  EXPECT_EQ(suite.dropped_empty, 2);
  EXPECT_EQ(suite.dropped_duplicates, 1);
  ASSERT_EQ(suite.prompts.size(), 2u);
  EXPECT_EQ(suite.prompts[1].id, "mine");
  EXPECT_THAT(categories(suite), ElementsAre("a", "b"));
}

TEST(Suite, ReadsNestedCategories) {
  const Suite suite = read_suite(
      written("c.json", R"({"Malware": {"Worms": ["One?", "Two?"]}, "Fraud": {"Mail": ["Three?"]}})"), {}, "cat");
  ASSERT_EQ(suite.prompts.size(), 3u);
  EXPECT_THAT(categories(suite), ElementsAre("Malware", "Fraud"));
  EXPECT_EQ(suite.prompts[2].text, "Three?");
}

TEST(Suite, NamesTheColumnsThereAre) {
  const fs::path path = written("d.csv", "q,kind\nWhy?,x\n");
  EXPECT_THAT(message_of(path, {}), HasSubstr("no column \"Question\": it has q, kind"));
  EXPECT_THAT(message_of(path, {.question = "q", .category = "sort"}), HasSubstr("no column \"sort\": it has q, kind"));
  const Suite suite = read_suite(path, {.question = "q"}, "s");
  EXPECT_EQ(suite.prompts.at(0).category, "all");
  EXPECT_EQ(read_suite(path, {.question = "q", .category = "kind"}, "s").prompts.at(0).category, "x");
}

TEST(Suite, RefusesRepeatedIdsAndNoPrompts) {
  EXPECT_THAT(message_of(written("e.csv", "id,Question\nx,One?\nx,Two?\n"), {}), HasSubstr("id \"x\" appears twice"));
  EXPECT_THAT(message_of(written("f.csv", "Question,Topic\n,a\n"), {}), HasSubstr("no row has a question"));
}

TEST(Suite, ReadsTheDefaultSuites) {
  for (const char* kind : {"harmful", "harmless"}) {
    const Suite suite =
        read_suite(fs::path(SUTURE_SOURCE_DIR) / "configs/suites/default" / (std::string(kind) + ".csv"), {}, kind);
    EXPECT_EQ(suite.prompts.size(), 110u);
    EXPECT_EQ(categories(suite).size(), 11u);
    EXPECT_EQ(suite.dropped_empty + suite.dropped_duplicates, 0);
  }
}

TEST(Style, KeepsTheQuestionWordForWord) {
  const std::string question = "What is {question} in {}?";
  for (const Style style : {Style::kSimple, Style::kInstructionCentric, Style::kChainOfThought, Style::kChat}) {
    EXPECT_THAT(styled(style, question), HasSubstr(question));
    EXPECT_EQ(style_named(name(style)), style);
  }
  EXPECT_EQ(styled(Style::kChat, question), question);
  EXPECT_THAT(styled(Style::kChainOfThought, "Q"), HasSubstr(styled(Style::kInstructionCentric, "Q")));
  EXPECT_THROW(style_named("haiku"), Error);
}

}  // namespace
}  // namespace suture::audit
