// SPDX-License-Identifier: Apache-2.0
#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace suture {
namespace {

TEST(Stream, GivesTheSameNumbersEverywhere) {
  // SplitMix64 (Steele et al. 2014) from the first 8 bytes of SHA-256("7/prefixes"), computed in Python.
  Stream stream(7, "prefixes");
  EXPECT_EQ(stream.next(), 0x0eb58e739ead07a8ULL);
  EXPECT_EQ(stream.next(), 0x02fbadb135846a6fULL);
  EXPECT_EQ(stream.next(), 0xfd39dfc08263fac2ULL);
}

TEST(Stream, SeedAndNameBothMatter) {
  EXPECT_NE(Stream(1, "a").next(), Stream(2, "a").next());
  EXPECT_NE(Stream(1, "a").next(), Stream(1, "b").next());
}

TEST(Stream, UniformLiesInTheUnitIntervalWithItsMean) {
  Stream stream(3, "u");
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = stream.uniform();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);  // 5.5 standard errors of 0.289/sqrt(1e5)
}

TEST(Stream, BelowIsFlat) {
  Stream stream(4, "b");
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(size_t(stream.below(7)));
  double chi2 = 0;
  for (const int n : counts) chi2 += (n - 1e4) * (n - 1e4) / 1e4;
  EXPECT_LT(chi2, 27.9);  // 6 degrees of freedom, p = 1e-4
}

TEST(Stream, PermutationHoldsEveryNumberOnce) {
  auto order = Stream(5, "p").permutation(100);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 100; ++i) EXPECT_EQ(order[size_t(i)], i);
}

TEST(Stream, SampleIsDistinctAndBounded) {
  auto drawn = Stream(6, "s").sample(10, 4);
  ASSERT_EQ(drawn.size(), 4U);
  std::sort(drawn.begin(), drawn.end());
  EXPECT_EQ(std::adjacent_find(drawn.begin(), drawn.end()), drawn.end());
  EXPECT_GE(drawn.front(), 0);
  EXPECT_LT(drawn.back(), 10);
  EXPECT_THROW(Stream(6, "s").sample(3, 4), Error);
}

}  // namespace
}  // namespace suture
