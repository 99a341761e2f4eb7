// SPDX-License-Identifier: Apache-2.0
#include "steps/ngram_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

namespace suture::steps {
namespace {

TEST(NgramEntropy, EqualsHandNumbers) {
  // 1 2 1 2: bigrams 12, 21, 12 (2/3, 1/3: 0.9183 bits), trigrams 121, 212 (1 bit).
  const double two = -(2.0 / 3 * std::log2(2.0 / 3) + 1.0 / 3 * std::log2(1.0 / 3));
  EXPECT_NEAR(ngram_entropy({1, 2, 1, 2}), (2.0 / 3 * two + 4.0 / 3 * 1) / 2, 1e-12);
  EXPECT_EQ(ngram_entropy({7, 7, 7, 7, 7}), 0);
  // All different: log2 4 bigrams, log2 3 trigrams.
  EXPECT_NEAR(ngram_entropy({1, 2, 3, 4, 5}), (2.0 / 3 * 2 + 4.0 / 3 * std::log2(3.0)) / 2, 1e-12);
  EXPECT_EQ(ngram_entropy({}), 0);
  EXPECT_EQ(ngram_entropy({1}), 0);
}

}  // namespace
}  // namespace suture::steps
