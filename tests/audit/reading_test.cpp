// SPDX-License-Identifier: Apache-2.0
#include "audit/reading.h"

#include <gmock/gmock.h>

namespace suture::audit {
namespace {

using testing::ElementsAre;

TEST(Words, ExpandContractionsInAnySpelling) {
  EXPECT_THAT(words_of("I can’t"), ElementsAre("i", "cannot"));
  EXPECT_THAT(words_of("I can not"), ElementsAre("i", "cannot"));
  EXPECT_THAT(words_of("WON'T isn't I'm we'll"), ElementsAre("will", "not", "is", "not", "i", "am", "we", "will"));
  EXPECT_THAT(words_of("j’ai l'aide"), ElementsAre("j'", "ai", "l'", "aide"));
  EXPECT_THAT(words_of("the dog's bone"), ElementsAre("the", "dog's", "bone"));
}

TEST(Words, LowerCaseBeyondAscii) {
  EXPECT_THAT(words_of("ÄRGER ŁÓDŹ НЕ Ёж"), ElementsAre("ärger", "łódź", "не", "ёж"));
}

TEST(Words, EachCjkSignIsAWord) { EXPECT_THAT(words_of("我不能。"), ElementsAre("我", "不", "能")); }

TEST(Reading, SetsCodeAndQuotesAside) {
  const Reading reading = read_response("He said “I can't help”. Run `cannot help`:\n```c\ncannot_help();\n```\nDone.");
  ASSERT_EQ(reading.sentences.size(), 3u);
  EXPECT_EQ(reading.sentences[0].text, "he said \"…\".");
  EXPECT_THAT(reading.sentences[1].words, ElementsAre("run"));
  EXPECT_TRUE(reading.sentences[1].opens_list);
  EXPECT_TRUE(reading.sentences[2].after_code);
  EXPECT_EQ(reading.code_lines, 1);
}

TEST(Reading, KnowsListItems) {
  const Reading reading = read_response("Steps:\n1. Go. Then rest.\n- **Stop**\n2024 was good.");
  ASSERT_EQ(reading.sentences.size(), 5u);
  EXPECT_TRUE(reading.sentences[1].list_item);
  EXPECT_FALSE(reading.sentences[2].list_item);
  EXPECT_TRUE(reading.sentences[3].list_item);
  EXPECT_FALSE(reading.sentences[4].list_item);
  EXPECT_THAT(reading.sentences[3].words, ElementsAre("stop"));
}

TEST(Reading, SurvivesBrokenUtf8) {
  const Reading reading = read_response("ok \xFF\xC3 \xE2\x82 end");
  EXPECT_EQ(reading.letters, 5);  // o k e n d
  EXPECT_GE(reading.marks, 3);
}

// Expected by Python: collections.Counter over n-grams, numpy.mean(entropies * [2/3, 4/3]).
TEST(NgramEntropy, EqualsTheReferenceFormula) {
  constexpr double kRounding = 1e-12;
  EXPECT_NEAR(ngram_entropy({"a", "b", "a", "b", "a", "b", "c"}), 1.501001368933990, kRounding);
  const std::vector<std::string> cat = words_of("the cat sat on the mat\nand the cat sat  on the rug");
  EXPECT_NEAR(ngram_entropy(cat), 2.915416660139998, kRounding);
  EXPECT_EQ(ngram_entropy({"x", "x", "x", "x"}), 0);
  EXPECT_EQ(ngram_entropy({"x"}), 0);
  EXPECT_EQ(ngram_entropy({}), 0);
}

}  // namespace
}  // namespace suture::audit
