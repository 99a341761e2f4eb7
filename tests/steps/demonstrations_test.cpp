// SPDX-License-Identifier: Apache-2.0
#include "steps/demonstrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/temp_folder.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

using test::error_of;
using ::testing::ElementsAre;

class DemonstrationsTest : public ::testing::Test {
 protected:
  std::string text(const std::vector<int32_t>& ids) const { return model_.words().decode(ids, false); }
  decode::LanguageModel model_ = decode::LanguageModel::load(fixtures::root() / "models" / "llama-gqa", {});
  std::vector<Demonstration> pairs_ = {{"Who?", "No."}, {"What?", "Not so."}, {"When?", "Later."}, {"Where?", "Here."}};
  test::TempFolder folder_;
};

TEST_F(DemonstrationsTest, ReadsPairsAndQuestions) {
  write_atomically(folder_ / "d.jsonl", R"({"question": "Who?", "answer": "No."})"
                                        "\n");
  const Demonstrations read = read_demonstrations(folder_ / "d.jsonl");
  ASSERT_EQ(read.pairs.size(), 1U);
  EXPECT_EQ(read.pairs[0].question, "Who?");
  EXPECT_EQ(read.pairs[0].answer, "No.");
  EXPECT_EQ(read.digest.size(), 64U);
  write_atomically(folder_ / "q.csv", "prompt,topic\nWho?,a\nWhat?,b\n");
  EXPECT_THAT(read_questions(folder_ / "q.csv", "prompt").texts, ElementsAre("Who?", "What?"));
}

TEST_F(DemonstrationsTest, RefusesFilesThatLackWhatIsAskedFor) {
  write_atomically(folder_ / "d.jsonl", R"({"question": "Who?"})"
                                        "\n");
  EXPECT_EQ(error_of([&] { read_demonstrations(folder_ / "d.jsonl"); }).code(), Code::kData);
  EXPECT_EQ(error_of([&] { read_questions(folder_ / "d.jsonl", "prompt"); }).code(), Code::kData);
  write_atomically(folder_ / "empty.jsonl", "");
  EXPECT_EQ(error_of([&] { read_demonstrations(folder_ / "empty.jsonl"); }).code(), Code::kData);
}

TEST_F(DemonstrationsTest, PlainFormIsBlocksThatEndWhereTheAnswerStarts) {
  EXPECT_EQ(text(few_shot_ids(model_, {pairs_[0], pairs_[1]}, "Why?", PromptForm::kPlain)),
            "Q: Who?\nA: No.\n\nQ: What?\nA: Not so.\n\nQ: Why?\nA:");
  EXPECT_EQ(text(few_shot_ids(model_, {}, "Why?", PromptForm::kPlain)), "Q: Why?\nA:");
}

TEST_F(DemonstrationsTest, ChatFormIsTheTemplatesTurns) {
  const std::vector<int32_t> expected =
      model_.chat_ids(std::vector<text::Message>{{"user", "Who?"}, {"assistant", "No."}, {"user", "Why?"}});
  EXPECT_EQ(few_shot_ids(model_, {pairs_[0]}, "Why?", PromptForm::kChat), expected);
  EXPECT_NE(text(expected).find("<|im_start|>assistant"), std::string::npos);
}

TEST_F(DemonstrationsTest, DrawsWithoutReplacementFromAStreamAQuery) {
  const auto prompts = few_shot_prompts(model_, pairs_, {"Why?", "How?", "Why?"}, 4, PromptForm::kPlain, 1);
  for (const auto& prompt : prompts)
    for (const Demonstration& pair : pairs_) {
      const std::string whole = text(prompt);
      const size_t at = whole.find(pair.question);
      EXPECT_NE(at, std::string::npos) << whole;
      EXPECT_EQ(whole.find(pair.question, at + 1), std::string::npos) << whole;
    }
  EXPECT_EQ(few_shot_prompts(model_, pairs_, {"Why?", "How?", "Why?"}, 4, PromptForm::kPlain, 1), prompts);
  EXPECT_NE(few_shot_prompts(model_, pairs_, {"Why?", "How?", "Why?"}, 4, PromptForm::kPlain, 2), prompts);
  // A query's draw is the same whatever queries follow it.
  EXPECT_EQ(few_shot_prompts(model_, pairs_, {"Why?"}, 4, PromptForm::kPlain, 1)[0], prompts[0]);
}

TEST_F(DemonstrationsTest, RefusesMoreShotsThanPairs) {
  const Error error = error_of([&] { few_shot_prompts(model_, pairs_, {"Why?"}, 5, PromptForm::kPlain, 1); });
  EXPECT_EQ(error.code(), Code::kConfig);
  EXPECT_STREQ(error.what(), "cannot draw 5 demonstrations: there are 4");
}

TEST_F(DemonstrationsTest, FirstAnswerTokensAreEachThereOnce) {
  const std::vector<Demonstration> pairs = {{"a", "No."}, {"b", "No way."}, {"c", "Later."}};
  for (const PromptForm form : {PromptForm::kPlain, PromptForm::kChat}) {
    const std::vector<int32_t> tokens = first_answer_tokens(model_, pairs, form);
    EXPECT_EQ(std::set<int32_t>(tokens.begin(), tokens.end()).size(), tokens.size());
    for (const Demonstration& pair : pairs) {
      // The token after the prompt's own, when prompt and answer are encoded together.
      const auto prompt = few_shot_ids(model_, {}, "Who", form);
      const std::string whole = text(prompt) + (form == PromptForm::kPlain ? " " : "") + pair.answer;
      const auto ids = model_.words().encode(whole).ids;
      EXPECT_NE(std::find(tokens.begin(), tokens.end(), ids[prompt.size()]), tokens.end()) << whole;
    }
  }
}

}  // namespace
}  // namespace suture::steps
