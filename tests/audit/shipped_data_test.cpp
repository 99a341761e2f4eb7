// SPDX-License-Identifier: Apache-2.0
// The data in configs/: as many rows as promised, and no text in two places, not even nearly. What a vector or a probe
// was made from must not be what the audit asks.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/file.h"
#include "text/dataset.h"

namespace suture::audit {
namespace {

fs::path configs() { return fs::path(SUTURE_SOURCE_DIR) / "configs"; }

struct Text {
  std::string place, words;  // words in normal form, one space between
  std::set<std::string> tokens;
};

// Lower case, hyphens as spaces, other punctuation dropped.
Text normal(const std::string& place, const std::string& text) {
  Text out{place, "", {}};
  std::string word;
  const auto end_word = [&] {
    if (word.empty()) return;
    out.tokens.insert(word);
    out.words += (out.words.empty() ? "" : " ") + word;
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || byte >= 0x80)
      word += char(std::tolower(byte));
    else if (c == '-' || std::isspace(byte))
      end_word();
  }
  end_word();
  return out;
}

std::vector<Text> column(const std::string& file, const std::string& name) {
  const text::Dataset data = text::read_dataset(configs() / file);
  std::vector<Text> texts;
  for (const text::Row& row : data.rows) texts.push_back(normal(data.place(row), data.text(row, name)));
  return texts;
}

double jaccard(const Text& a, const Text& b) {
  int64_t both = 0;
  for (const std::string& token : a.tokens) both += int64_t(b.tokens.contains(token));
  return double(both) / double(int64_t(a.tokens.size() + b.tokens.size()) - both);
}

std::vector<Text> all_questions() {
  std::vector<Text> all;
  for (const auto& [file, name] :
       std::vector<std::pair<std::string, std::string>>{{"suites/default/harmful.csv", "Question"},
                                                        {"suites/default/harmless.csv", "Question"},
                                                        {"demonstrations/refusals.jsonl", "question"},
                                                        {"demonstrations/harmless.jsonl", "question"},
                                                        {"demonstrations/harmful_questions.jsonl", "question"},
                                                        {"demonstrations/harmless_questions.jsonl", "question"},
                                                        {"demonstrations/gate_harmful.jsonl", "question"},
                                                        {"demonstrations/gate_harmless.jsonl", "question"},
                                                        {"demonstrations/validation_harmful.jsonl", "question"},
                                                        {"demonstrations/validation_harmless.jsonl", "question"}}) {
    const std::vector<Text> texts = column(file, name);
    all.insert(all.end(), texts.begin(), texts.end());
  }
  return all;
}

TEST(ShippedData, SuitesHoldTenPromptsATopic) {
  for (const std::string file : {"harmful.csv", "harmless.csv"}) {
    const text::Dataset data = text::read_dataset(configs() / "suites/default" / file);
    EXPECT_EQ(data.rows.size(), 110U) << file;
    std::map<std::string, int64_t> topics;
    for (const text::Row& row : data.rows) ++topics[data.text(row, "Topic")];
    EXPECT_EQ(topics.size(), 11U) << file;
    for (const auto& [topic, count] : topics) EXPECT_EQ(count, 10) << file << " " << topic;
  }
}

TEST(ShippedData, SuiteTopicsMatch) {
  std::vector<std::set<std::string>> topics;
  for (const std::string file : {"harmful.csv", "harmless.csv"}) {
    const text::Dataset data = text::read_dataset(configs() / "suites/default" / file);
    for (auto& set = topics.emplace_back(); const text::Row& row : data.rows) set.insert(data.text(row, "Topic"));
  }
  EXPECT_EQ(topics[0], topics[1]);
}

TEST(ShippedData, ThereAreSixtyDemonstrationsOfEachKind) {
  for (const std::string file : {"refusals.jsonl", "harmless.jsonl"}) {
    const text::Dataset data = text::read_dataset(configs() / "demonstrations" / file);
    EXPECT_EQ(data.rows.size(), 60U) << file;
    for (const text::Row& row : data.rows) EXPECT_FALSE(data.text(row, "answer").empty()) << data.place(row);
  }
}

TEST(ShippedData, NoTextAppearsTwice) {
  std::map<std::string, std::string> seen;
  for (const Text& text : all_questions()) {
    const auto [it, fresh] = seen.emplace(text.words, text.place);
    EXPECT_TRUE(fresh) << it->second << " and " << text.place << ": " << text.words;
  }
}

TEST(ShippedData, NoTwoTextsAreNearlyTheSame) {
  const std::vector<Text> all = all_questions();
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = i + 1; j < all.size(); ++j)
      EXPECT_LE(jaccard(all[i], all[j]), 0.75) << all[i].place << " and " << all[j].place << ":\n"
                                               << all[i].words << "\n"
                                               << all[j].words;
}

TEST(ShippedData, TheMeasureSeesARewording) {
  const Text a = normal("a", "How do I sharpen a kitchen-knife?"), b = normal("b", "how do I sharpen a KITCHEN knife"),
             c = normal("c", "How do I sharpen a pencil?");
  EXPECT_EQ(a.words, b.words);
  EXPECT_EQ(jaccard(a, b), 1);
  EXPECT_DOUBLE_EQ(jaccard(a, c), 5.0 / 8);  // how do i sharpen a / and kitchen, knife, pencil
}

}  // namespace
}  // namespace suture::audit
