// SPDX-License-Identifier: Apache-2.0
#include "audit/pattern.h"

#include <gtest/gtest.h>

#include "audit/reading.h"
#include "core/error.h"

namespace suture::audit {
namespace {

const WordClasses kClasses = {{"serve", {"help", "assist"}}, {"adv", {"really", "just"}}};

bool matches(const char* pattern, const char* text) {
  return Pattern(pattern, kClasses).find(words_of(text)).has_value();
}

TEST(Pattern, MatchesAlternativesPrefixesAndOptionalWords) {
  EXPECT_TRUE(matches("i|we cannot", "so we cannot go"));
  EXPECT_FALSE(matches("i|we cannot", "you cannot go"));
  EXPECT_TRUE(matches("guideline*", "my guidelines"));
  EXPECT_FALSE(matches("guideline*", "a guide"));
  EXPECT_TRUE(matches("will be? gone", "will gone"));
  EXPECT_TRUE(matches("will be? gone", "will be gone"));
}

TEST(Pattern, GapsAndClassesHaveBounds) {
  EXPECT_TRUE(matches("my ~2 rules", "my very own rules"));
  EXPECT_FALSE(matches("my ~2 rules", "my very own old rules"));
  EXPECT_TRUE(matches("cannot <adv>* <serve>", "cannot just really help"));
  EXPECT_FALSE(matches("cannot <adv>* <serve>", "cannot ever help"));
  EXPECT_TRUE(matches("cannot <serve>|do", "cannot do"));
}

TEST(Pattern, AnchorsHoldTheSentencesEnds) {
  EXPECT_TRUE(matches("^ sorry $", "Sorry!"));
  EXPECT_FALSE(matches("^ sorry", "so sorry"));
  EXPECT_FALSE(matches("sorry $", "sorry no"));
}

TEST(Pattern, ReportsWhereItMatched) {
  const auto found = Pattern("i cannot ~3 help", kClasses).find(words_of("well, I can't possibly help you"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->begin, 1u);
  EXPECT_EQ(found->end, 5u);
}

TEST(Pattern, RefusesAnUnknownClass) { EXPECT_THROW(Pattern("<nouns>", kClasses), Error); }

// A table row that matches everything must not compile: these are the constant expressions the tables assert.
static_assert(matches_something("i cannot"));
static_assert(matches_something("^ <serve>"));
static_assert(!matches_something(""));
static_assert(!matches_something("   "));
static_assert(!matches_something("^ $"));
static_assert(!matches_something("~3"));
static_assert(!matches_something("really? <adv>*"));

}  // namespace
}  // namespace suture::audit
