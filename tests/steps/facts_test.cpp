// SPDX-License-Identifier: Apache-2.0
#include "steps/facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/temp_folder.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

using test::error_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ReadFacts : public ::testing::Test {
 protected:
  fs::path write(const std::string& text) {
    write_atomically(folder_ / "facts.jsonl", text);
    return folder_ / "facts.jsonl";
  }
  std::string refusal(const std::string& line) {
    const fs::path path = write(R"({"subject": "Ann", "prompt": "{} lives in", "target_new": "Rome"})"
                                "\n" +
                                line + "\n");
    const Error error = error_of([&] { read_facts(path); });
    EXPECT_EQ(error.code(), Code::kData) << error.what();
    const std::string start = "cannot read " + path.string() + ":2: ", text = error.what();
    EXPECT_TRUE(text.starts_with(start)) << text;
    return text.substr(std::min(text.size(), start.size()));
  }
  test::TempFolder folder_;
};

TEST_F(ReadFacts, ReadsEveryField) {
  const Facts facts = read_facts(write(
      R"({"id": "a", "subject": "Ann", "prompt": "Where {} lives is", "target_new": "Rome", "target_true": "Oslo", "paraphrases": ["p1", "p2"], "neighbours": ["n"], "generation": ["g"]})"
      "\n"
      R"({"subject": "Bob", "prompt": "{} is", "target_new": "old"})"
      "\n"));
  ASSERT_EQ(facts.facts.size(), 2U);
  const Fact& a = facts.facts[0];
  EXPECT_EQ(a.id, "a");
  EXPECT_EQ(a.text(), "Where Ann lives is");
  EXPECT_EQ(a.target_new, "Rome");
  EXPECT_EQ(a.target_true, "Oslo");
  EXPECT_THAT(a.paraphrases, ElementsAre("p1", "p2"));
  EXPECT_THAT(a.neighbours, ElementsAre("n"));
  EXPECT_THAT(a.generation, ElementsAre("g"));
  EXPECT_EQ(facts.facts[1].id, "line-2");
  EXPECT_EQ(facts.facts[1].line, 2);
  EXPECT_EQ(facts.facts[1].target_true, "");
  EXPECT_EQ(facts.digest.size(), 64U);
}

TEST_F(ReadFacts, BracesInASubjectAreText) {
  const Facts facts = read_facts(write(R"({"subject": "{}", "prompt": "a {} b", "target_new": "c"})"));
  EXPECT_EQ(facts.facts[0].text(), "a {} b");
}

TEST_F(ReadFacts, RefusalsNameTheLine) {
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "he is", "target_new": "old"})"),
            "prompt must have one '{}' for the subject, it has 0");
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "{} or {}", "target_new": "old"})"),
            "prompt must have one '{}' for the subject, it has 2");
  EXPECT_EQ(refusal(R"({"subject": "", "prompt": "{} is", "target_new": "old"})"),
            "subject and target_new must not be empty");
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "{} is", "target_new": ""})"),
            "subject and target_new must not be empty");
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "{} is", "target_new": "old", "target": "x"})"),
            "unknown field 'target'");
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "{} is", "target_new": "old", "neighbours": "n"})"),
            "'neighbours' must be a list of texts");
  EXPECT_EQ(refusal(R"({"subject": "Bob", "prompt": "{} is", "target_new": "old", "paraphrases": [1]})"),
            "'paraphrases' must be a list of texts, got 1");
  EXPECT_EQ(refusal(R"({"id": "line-1", "subject": "Bob", "prompt": "{} is", "target_new": "old"})"),
            "id 'line-1' is used twice");
  const fs::path path = write(R"({"subject": "Ann", "prompt": "{} is", "target_new": "a"})"
                              "\n"
                              R"({"subject": "Bob", "prompt": "{} is"})"
                              "\n");
  EXPECT_THAT(error_of([&] { read_facts(path); }).what(),
              AllOf(HasSubstr("'target_new'"), HasSubstr(path.string() + ":2")));
}

TEST_F(ReadFacts, RefusesAFileWithoutFacts) {
  const fs::path path = write("");
  EXPECT_EQ(error_of([&] { read_facts(path); }).code(), Code::kData);
}

class WithTokenizer : public ::testing::Test {
 protected:
  // The tokenizer is ASCII, so characters are bytes and ids decode piece by piece.
  std::string text(const std::vector<int32_t>& ids, int64_t count = -1) const {
    return model_.words().decode(std::span(ids).first(count < 0 ? ids.size() : size_t(count)), false);
  }
  decode::LanguageModel model_ = decode::LanguageModel::load(fixtures::root() / "models" / "llama-gqa", {});
};

TEST_F(WithTokenizer, ContinuationsAreSplitOffTheWhole) {
  const auto [prompt, continuation] = split_ids(model_, "The old tower is", "in the north");
  EXPECT_EQ(text(prompt), "The old tower is");
  EXPECT_EQ(text(continuation), " in the north");
  std::vector<int32_t> joined = prompt;
  joined.insert(joined.end(), continuation.begin(), continuation.end());
  EXPECT_EQ(joined, model_.encode("The old tower is in the north").ids);
}

TEST_F(WithTokenizer, ThereIsOneSpaceBetween) {
  EXPECT_EQ(text(split_ids(model_, "a b", " c").second), " c");
  const auto [prompt, continuation] = split_ids(model_, "a b ", "c");
  EXPECT_EQ(text(prompt) + text(continuation), "a b c");
  EXPECT_EQ(error_of([&] { split_ids(model_, "", ""); }).code(), Code::kData);
}

TEST_F(WithTokenizer, TheSubjectIsFoundByCharacters) {
  for (const std::string prompt : {"{} is in", "The mother of {} is", "Where {}'s home is,", "in ({}) the"}) {
    const Fact fact{"f", "the nets then", prompt, "north", "", {}, {}, {}, 1};
    const ValueProblem problem = make_problem(model_, fact, {"", "This is it. ", "the nets then. "});
    ASSERT_EQ(problem.contexts.size(), 3U);
    const std::vector<std::string> contexts = {"", "This is it. ", "the nets then. "};
    for (size_t i = 0; i < 3; ++i) {
      const ValueRow& row = problem.contexts[i];
      const size_t end = contexts[i].size() + prompt.find("{}") + fact.subject.size();
      EXPECT_GE(text(row.ids, row.subject + 1).size(), end)
          << prompt << " " << i;  // the subject is complete with this token
      EXPECT_LT(text(row.ids, row.subject).size(), end) << prompt << " " << i;  // and was not before it
    }
  }
}

TEST_F(WithTokenizer, RowsEndWithTheTargetButForItsLastToken) {
  const Fact fact{"f", "Ann", "The mother of {} is", "in the north", "", {}, {}, {}, 1};
  const ValueProblem problem = make_problem(model_, fact, {"", "This is it. "});
  EXPECT_EQ(text(problem.target), " in the north");
  ASSERT_GT(problem.target.size(), 1U);
  const std::vector<int32_t> kept(problem.target.begin(), problem.target.end() - 1);
  EXPECT_EQ(text(problem.contexts[0].ids), "The mother of Ann is" + text(kept));
  EXPECT_EQ(text(problem.contexts[1].ids), "This is it. The mother of Ann is" + text(kept));
  EXPECT_EQ(text(problem.essence.ids), "Ann is a");
  EXPECT_EQ(text(problem.essence.ids, problem.essence.subject + 1), "Ann");
}

TEST_F(WithTokenizer, ContextsAreTheSameForTheSameSeed) {
  const std::vector<std::string> contexts = sample_contexts(model_, {3, 6}, 4, 1);
  ASSERT_EQ(contexts.size(), 1U + 8);
  EXPECT_EQ(contexts[0], "");
  for (size_t i = 1; i < contexts.size(); ++i) {
    EXPECT_TRUE(contexts[i].ends_with(". ")) << contexts[i];
    EXPECT_EQ(contexts[i].find_first_of("{}"), std::string::npos);
  }
  EXPECT_EQ(sample_contexts(model_, {3, 6}, 4, 1), contexts);
  EXPECT_NE(sample_contexts(model_, {3, 6}, 4, 2), contexts);
}

}  // namespace
}  // namespace suture::steps
