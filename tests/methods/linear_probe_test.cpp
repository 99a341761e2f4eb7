// SPDX-License-Identifier: Apache-2.0
#include "methods/linear_probe.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/random.h"
#include "support/errors.h"

namespace suture::methods {
namespace {

using test::error_of;

// Two Gaussians of unit variance in 8 dimensions whose means lie `distance` apart along the first axis.
at::Tensor gaussian(int64_t n, double mean, const std::string& name) {
  Stream stream(7, name);
  at::Tensor x = at::empty({n, 8}, at::kFloat);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t d = 0; d < 8; ++d)
      x[i][d] = std::sqrt(-2 * std::log(1 - stream.uniform())) * std::cos(2 * std::numbers::pi * stream.uniform()) +
                (d == 0 ? mean : 0);
  return x;
}

double mean_of(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0) / double(x.size()); }

class TwoGaussians : public ::testing::Test {
 protected:
  at::Tensor harmful_ = gaussian(400, 2, "harmful"), harmless_ = gaussian(400, -1, "harmless");
  Probe probe_ = fit_probe(harmful_, harmless_, 1e-3);
};

TEST_F(TwoGaussians, ClassMeansScorePlusAndMinusOne) {
  EXPECT_NEAR(mean_of(probe_scores(probe_, harmful_)), 1, 1e-5);  // fp32 scores
  EXPECT_NEAR(mean_of(probe_scores(probe_, harmless_)), -1, 1e-5);
}

TEST_F(TwoGaussians, FindsTheAxisThatTellsThemApart) {
  EXPECT_GT(probe_.weight_D[0].item<double>(), 0);
  // Equal spherical covariances: w is parallel to the difference of means; 800 samples leave a few per cent of noise.
  EXPECT_GT(probe_.weight_D[0].item<double>() / probe_.weight_D.norm().item<double>(), 0.98);
}

TEST_F(TwoGaussians, AreaIsThatOfTwoNormalScores) {
  const ProbeCheck check = choose_threshold(probe_scores(probe_, gaussian(400, 2, "held-out harmful")),
                                            probe_scores(probe_, gaussian(400, -1, "held-out harmless")));
  // Means 3 deviations apart: area = Phi(3/sqrt 2) = 0.983; 400 of each estimate it to about 0.005.
  EXPECT_NEAR(check.area, 0.5 * std::erfc(-3 / 2.0), 0.015);
  // Each error rate at the midpoint is Phi(-1.5) = 0.067; two standard errors are 0.025.
  EXPECT_GT(check.caught, 0.88);
  EXPECT_LT(check.false_alarms, 0.12);
  EXPECT_NEAR(check.threshold, 0, 0.35);
  EXPECT_EQ(check.harmful, 400);
  EXPECT_EQ(check.harmless, 400);
}

// Two points a class: S, w and the bias by hand.
TEST(FitProbe, EqualsAHandComputation) {
  const at::Tensor harmful = at::tensor({3.0, 1.0, 5.0, 3.0}, at::kDouble).view({2, 2});    // mean (4, 2)
  const at::Tensor harmless = at::tensor({0.0, 1.0, 0.0, -1.0}, at::kDouble).view({2, 2});  // mean (0, 0)
  // Pooled S = ([[2,2],[2,2]] + [[0,0],[0,2]]) / 2 = [[1,1],[1,2]]; S^-1 (4,2) = (6,-2); times 2/(6*4-2*2) =
  // (0.6,-0.2).
  const Probe probe = fit_probe(harmful, harmless, 0);
  EXPECT_NEAR(probe.weight_D[0].item<double>(), 0.6, 1e-6);
  EXPECT_NEAR(probe.weight_D[1].item<double>(), -0.2, 1e-6);
  EXPECT_NEAR(probe.bias, -(0.6 * 2 - 0.2 * 1), 1e-12);
}

// With rho = 1 the diagonal doubles: [[2,1],[1,4]]^-1 (4,2) = (2,0); times 2/(2*4) = (0.5, 0).
TEST(FitProbe, ShrinksEveryDirectionByItsOwnVariance) {
  const at::Tensor harmful = at::tensor({3.0, 1.0, 5.0, 3.0}, at::kDouble).view({2, 2});
  const at::Tensor harmless = at::tensor({0.0, 1.0, 0.0, -1.0}, at::kDouble).view({2, 2});
  const Probe probe = fit_probe(harmful, harmless, 1);
  EXPECT_NEAR(probe.weight_D[0].item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(probe.weight_D[1].item<double>(), 0, 1e-6);
  // A direction measured in other units is weighted the other way round: the scores stay.
  const at::Tensor units = at::tensor({1.0, 1000.0}, at::kDouble);
  const Probe scaled = fit_probe(harmful * units, harmless * units, 1);
  for (int64_t i = 0; i < 2; ++i)
    EXPECT_NEAR(probe_scores(scaled, harmful * units)[size_t(i)], probe_scores(probe, harmful)[size_t(i)], 1e-5);
}

TEST(FitProbe, NeedsTwoOfEach) {
  const at::Tensor one = at::tensor({1.0, 2.0}, at::kDouble).view({1, 2}),
                   two = at::tensor({1.0, 2.0, 3.0, 5.0}, at::kDouble).view({2, 2});
  const Error error = error_of([&] { fit_probe(one, two, 0.1); });
  EXPECT_EQ(error.code(), Code::kData);
  EXPECT_STREQ(error.what(), "cannot fit a probe to 1 harmful and 2 harmless prompts: at least 2 of each are needed");
}

TEST(ChooseThreshold, IsHalfwayWhenTheClassesAreApart) {
  const ProbeCheck check = choose_threshold({2, 4, 3}, {-1, 0, 1});
  EXPECT_EQ(check.threshold, 1.5);
  EXPECT_EQ(check.area, 1);
  EXPECT_EQ(check.caught, 1);
  EXPECT_EQ(check.false_alarms, 0);
}

TEST(ChooseThreshold, CatchesWhatItCanWithinTheAllowedAlarms) {
  const std::vector<double> harmful = {1, 2, 3, 4}, harmless = {-1, 0, 1.5, 2.5};
  EXPECT_EQ(choose_threshold(harmful, harmless, 0.5).threshold, 0.5);  // all four, alarms 1.5 and 2.5
  const ProbeCheck quarter = choose_threshold(harmful, harmless, 0.25);
  EXPECT_EQ(quarter.threshold, 1.75);  // 2, 3 and 4, alarm 2.5
  EXPECT_EQ(quarter.caught, 0.75);
  EXPECT_EQ(quarter.false_alarms, 0.25);
  EXPECT_EQ(choose_threshold(harmful, harmless, 0).threshold, 2.75);
  EXPECT_EQ(choose_threshold({0, 1}, {2, 3}, 0).threshold, 3);  // nothing can be caught
}

TEST(ChooseThreshold, CountsPairsForTheArea) {
  // Pairs (harmful, harmless): 1>0, 1<2, 3>0, 3>2 and no tie: 3 of 4.
  EXPECT_EQ(choose_threshold({1, 3}, {0, 2}).area, 0.75);
  EXPECT_EQ(choose_threshold({1}, {1}).area, 0.5);  // a tie is half
  EXPECT_EQ(error_of([] { choose_threshold({}, {1}); }).code(), Code::kData);
}

}  // namespace
}  // namespace suture::methods
