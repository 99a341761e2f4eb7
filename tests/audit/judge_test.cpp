// SPDX-License-Identifier: Apache-2.0
#include "audit/judge.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace suture::audit {
namespace {

struct Case {
  std::string text, question, why;
  Label label;
  bool cut_off, held_out;
};

std::vector<Case> read_cases() {
  const fs::path path = fs::path(SUTURE_SOURCE_DIR) / "tests/audit/judge_cases.jsonl";
  const std::string text = read_text(path);
  std::vector<Case> cases;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const Json row = parse_json(std::string_view(text).substr(at, end - at), path.string());
    cases.push_back({row.at("text"), row.at("question"), row.at("why"), label_named(row.at("label").get<std::string>()),
                     row.at("cut_off"), row.value("held_out", false)});
    at = end + 1;
  }
  return cases;
}

using Confusion = std::map<Label, std::map<Label, int>>;

void print(const Confusion& confusion) {
  std::cout << fmt::format("{:>22}", "expected \\ judged");
  for (const Label judged : kLabels) std::cout << fmt::format("{:>12}", name(judged));
  for (const auto& [expected, row] : confusion) {
    std::cout << fmt::format("\n{:>22}", name(expected));
    for (const Label judged : kLabels) std::cout << fmt::format("{:>12}", row.contains(judged) ? row.at(judged) : 0);
  }
  std::cout << "\n";
}

struct Agreement {
  int right = 0, all = 0;
  Confusion confusion;
  std::string misses;
};

Agreement agreement(bool held_out) {
  Agreement result;
  for (const Case& c : read_cases()) {
    if (c.held_out != held_out) continue;
    const Verdict verdict = judge_lexically({c.question, c.text, c.cut_off});
    ++result.all;
    ++result.confusion[c.label][verdict.label];
    if (verdict.label == c.label) {
      ++result.right;
    } else {
      result.misses +=
          fmt::format("\n  {} judged {} ({}): {}", name(c.label), name(verdict.label), verdict.rule, c.text);
    }
  }
  return result;
}

TEST(Judge, AgreesOnEveryCaseItsRulesWereWrittenFor) {
  const Agreement result = agreement(false);
  EXPECT_GE(result.all, 100);
  EXPECT_EQ(result.right, result.all) << result.misses;
}

// These cases were written after the rules and have not been used to change them.
TEST(Judge, AgreesOnNineInTenHeldOutCases) {
  const Agreement result = agreement(true);
  print(result.confusion);
  std::cout << fmt::format("held out: {} of {} agree{}\n", result.right, result.all, result.misses);
  EXPECT_GE(result.all, 50);
  EXPECT_GE(10 * result.right, 9 * result.all) << result.misses;
}

// The project's own demonstrations: every refusal is one, and no helpful answer is.
TEST(Judge, KnowsTheDemonstrations) {
  for (const auto& [file, expected] :
       {std::pair{"refusals", Label::kRefused}, std::pair{"harmless", Label::kComplied}}) {
    const fs::path path = fs::path(SUTURE_SOURCE_DIR) / "configs/demonstrations" / (std::string(file) + ".jsonl");
    const std::string text = read_text(path);
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const Json row = parse_json(std::string_view(text).substr(at, end - at), path.string());
      const std::string answer = row.at("answer");
      EXPECT_EQ(judge_lexically({"", answer, false}).label, expected) << answer;
      at = end + 1;
    }
  }
}

TEST(Judge, NamesTheRuleAndThePhrase) {
  EXPECT_EQ(judge_lexically({"", "I can’t help with that.", false}).rule, "refusal: i cannot help");
  EXPECT_EQ(judge_lexically({"", "Paris.", false}).rule, "no refusal found");
  const std::string mixed = judge_lexically({"", "I can't help.\n```\nx\n```\n", false}).rule;
  EXPECT_EQ(mixed, "refusal: i cannot help, then a code block");
}

TEST(Judge, MarksALongAnswerThatWasCutOff) {
  const Verdict verdict =
      judge_lexically({"", "Start with the first shelf and take every book out, then dust the", true});
  EXPECT_EQ(verdict.label, Label::kComplied);
  EXPECT_NE(verdict.rule.find("(cut off)"), std::string::npos);
}

TEST(Judge, AddedBlanksCaseAndMarkdownChangeNothing) {
  for (const Case& c : read_cases()) {
    if (c.held_out || c.label != Label::kRefused) continue;
    EXPECT_EQ(judge_lexically({c.question, "\n\n  " + c.text + "  \n", c.cut_off}).label, c.label) << c.text;
  }
}

TEST(Labels, RoundTripTheirNames) {
  for (const Label label : kLabels) EXPECT_EQ(label_named(name(label)), label);
  EXPECT_THROW(label_named("Refused"), Error);
}

}  // namespace
}  // namespace suture::audit
