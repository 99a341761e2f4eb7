// SPDX-License-Identifier: Apache-2.0
#include "audit/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace suture::audit {
namespace {

constexpr double kRounding = 1e-12;  // closed forms in double precision

// Expected by statsmodels 0.14: proportion_confint(k, n, 0.05, "wilson").
TEST(Wilson, EqualsStatsmodels) {
  struct Row {
    int64_t k, n;
    double low, high;
  };
  for (const Row& row :
       {Row{0, 10, 0, 0.277532799862889}, Row{1, 10, 0.017876213095073, 0.404150026795239},
        Row{5, 10, 0.236593090512564, 0.763406909487436}, Row{99, 110, 0.829764971902433, 0.943239879859036},
        Row{110, 110, 0.966256064701836, 1}, Row{3, 1000, 0.001020783881139, 0.008783014053503},
        Row{7, 13, 0.291437957145060, 0.767939321904617}}) {
    const Estimate estimate = wilson(row.k, row.n);
    EXPECT_NEAR(estimate.low, row.low, kRounding) << row.k << "/" << row.n;
    EXPECT_NEAR(estimate.high, row.high, kRounding) << row.k << "/" << row.n;
    EXPECT_EQ(estimate.estimate, static_cast<double>(row.k) / static_cast<double>(row.n));
  }
}

TEST(Wilson, OfNothingIsNullInJson) {
  const Json json = to_json(wilson(0, 0));
  EXPECT_TRUE(json.at("estimate").is_null());
  EXPECT_TRUE(json.at("low").is_null());
  EXPECT_TRUE(json.at("high").is_null());
  EXPECT_EQ(json.at("n"), 0);
  EXPECT_THROW(wilson(2, 1), Error);
}

// Expected by statsmodels: mcnemar([[0, lost], [gained, 0]], exact=True).pvalue; the small ones are exact fractions:
// (0, 5): 2/2^5; (1, 9): 2·11/2^10; (4, 10): 2·(1+14+91+364+1001)/2^14.
TEST(McNemar, EqualsTheExactBinomial) {
  EXPECT_NEAR(mcnemar_exact(0, 5), 2.0 / 32, kRounding);
  EXPECT_NEAR(mcnemar_exact(1, 9), 22.0 / 1024, kRounding);
  EXPECT_NEAR(mcnemar_exact(10, 4), 2942.0 / 16384, kRounding);
  EXPECT_NEAR(mcnemar_exact(12, 30), 0.00791589733489673, kRounding);
  EXPECT_NEAR(mcnemar_exact(100, 150), 0.00188330093507616, kRounding);
  EXPECT_NEAR(mcnemar_exact(0, 90) / 1.61558713389263e-27, 1, 1e-9);  // lgamma keeps nine digits this far out
  EXPECT_EQ(mcnemar_exact(6, 6), 1);
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
}

// Expected by statsmodels: multipletests(p, method="holm")[1].
TEST(Holm, EqualsStatsmodelsInTheGivenOrder) {
  const std::vector<double> adjusted = holm({0.01, 0.04, 0.03, 0.005}), expected = {0.03, 0.06, 0.06, 0.02};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(adjusted[i], expected[i], kRounding);
  const std::vector<double> ties = holm({.02, .02, .9, .001, .3}), expected_ties = {.08, .08, .9, .005, .6};
  for (size_t i = 0; i < ties.size(); ++i) EXPECT_NEAR(ties[i], expected_ties[i], kRounding);
  EXPECT_TRUE(holm({}).empty());
}

TEST(Flips, CountEachPairOnce) {
  const Flips flips = count_flips({true, true, false, false, true}, {true, false, true, false, false});
  EXPECT_EQ(flips.both, 1);
  EXPECT_EQ(flips.lost, 2);
  EXPECT_EQ(flips.gained, 1);
  EXPECT_EQ(flips.neither, 1);
  EXPECT_EQ(flips.pairs(), 5);
  EXPECT_THROW(count_flips({true}, {}), Error);
}

// Expected by scikit-learn: cohen_kappa_score.
TEST(Kappa, EqualsScikitLearn) {
  const std::vector<std::string> a = {"x", "x", "y", "y", "z", "z", "x", "y", "x", "z"},
                                 b = {"x", "x", "y", "z", "z", "z", "x", "y", "y", "z"};
  EXPECT_NEAR(cohen_kappa(a, b).value(), 0.701492537313433, kRounding);
  EXPECT_FALSE(cohen_kappa({"x", "x"}, {"x", "x"}));
  EXPECT_FALSE(cohen_kappa({}, {}));
}

// For many values the percentile bootstrap of a mean comes near mean ± 1.96·sd/√n.
TEST(Bootstrap, ComesNearTheNormalInterval) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(static_cast<double>(i % 20));
  Stream stream(7, "bootstrap");
  const Estimate estimate = bootstrap_mean(values, stream, 4000);
  const double half = kZ95 * std::sqrt((20.0 * 20.0 - 1) / 12) / std::sqrt(400.0);  // sd of 0..19, each equally often
  EXPECT_NEAR(estimate.estimate, 9.5, kRounding);
  EXPECT_NEAR(estimate.low, 9.5 - half, 0.06);  // ten per cent of the half width: noise of 4000 resamples
  EXPECT_NEAR(estimate.high, 9.5 + half, 0.06);
}

TEST(Bootstrap, RepeatsForTheSameSeed) {
  const std::vector<double> values = {1, 2, 4, 8};
  Stream a(1, "x"), b(1, "x"), c(2, "x");
  const Estimate first = bootstrap_mean(values, a, 50), second = bootstrap_mean(values, b, 50),
                 other = bootstrap_mean(values, c, 50);
  EXPECT_EQ(first.low, second.low);
  EXPECT_EQ(first.high, second.high);
  EXPECT_TRUE(other.low != first.low || other.high != first.high);
}

TEST(Bootstrap, OfOneOrNoValue) {
  Stream stream(1, "x");
  const std::vector<double> one = {3};
  const Estimate estimate = bootstrap_mean(one, stream, 10);
  EXPECT_EQ(estimate.low, 3);
  EXPECT_EQ(estimate.high, 3);
  EXPECT_TRUE(to_json(bootstrap_mean({}, stream, 10)).at("estimate").is_null());
}

}  // namespace
}  // namespace suture::audit
