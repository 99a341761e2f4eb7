// SPDX-License-Identifier: Apache-2.0
#include "decode/sampler.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "support/errors.h"

namespace suture::decode {
namespace {

using test::error_of;

std::vector<Stream> streams(int64_t n, const std::string& name = "row") {
  std::vector<Stream> out;
  for (int64_t i = 0; i < n; ++i) out.emplace_back(11, fmt::format("{}/{}", name, i));
  return out;
}

int32_t one(const at::Tensor& logits_V, const Sampling& sampling, Stream& stream) {
  std::vector<Stream> list = {stream};
  const int32_t id = choose(logits_V.unsqueeze(0), sampling, list)[0];
  stream = list[0];
  return id;
}

TEST(Greedy, TakesTheLargestAndTheFirstOfEquals) {
  std::vector<Stream> none;
  for (const int64_t width : {3, 16, 40, 41}) {  // below, at and around the width of a vector register
    for (const int64_t place : {int64_t(0), width / 2, width - 1}) {
      at::Tensor logits = at::full({2, width}, -3.F);
      logits[1][place] = 5;
      EXPECT_EQ(choose(logits, {}, none), (std::vector<int32_t>{0, int32_t(place)})) << width;
    }
  }
}

TEST(Greedy, ReadsHalves) {
  std::vector<Stream> none;
  EXPECT_EQ(choose(at::tensor({1.F, 3.F, 2.F}).unsqueeze(0).to(at::kBFloat16), {}, none), std::vector<int32_t>{1});
}

TEST(Choose, RefusesLogitsThatAreNotNumbers) {
  std::vector<Stream> none;
  for (const int64_t width : {5, 40}) {
    for (const int64_t place : {int64_t(0), width - 1}) {
      at::Tensor logits = at::full({1, width}, 1.F);
      logits[0][place] = std::numeric_limits<float>::quiet_NaN();
      const Error error = error_of([&] { choose(logits, {}, none); });
      EXPECT_EQ(error.code(), Code::kNumerics) << width << " " << place;
      EXPECT_STREQ(error.what(), "cannot choose a token: the model's logits are not numbers");
    }
    const at::Tensor logits = at::full({1, width}, std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(error_of([&] { choose(logits, {}, none); }).code(), Code::kNumerics);
  }
}

TEST(Choose, ExcludedTokensAreNumbers) {
  const float never = -std::numeric_limits<float>::infinity();
  std::vector<Stream> rows = streams(1);
  EXPECT_EQ(choose(at::tensor({never, 0.F, never}).unsqueeze(0), {}, rows), std::vector<int32_t>{1});
  EXPECT_EQ(choose(at::tensor({never, 0.F, never}).unsqueeze(0), {.temperature = 1}, rows), std::vector<int32_t>{1});
}

// Shares of 4,000 draws: three standard errors are at most 0.024.
std::array<double, 3> shares(const Sampling& sampling) {
  const at::Tensor logits = at::tensor({0.5F, 0.3F, 0.2F}).log() + 7;
  Stream stream(3, "shares");
  std::array<double, 3> count{};
  for (int i = 0; i < 4000; ++i) count[size_t(one(logits, sampling, stream))] += 1 / 4000.0;
  return count;
}
constexpr double kShare = 0.024;

TEST(Sampling, FollowsTheDistribution) {
  const auto share = shares({.temperature = 1});
  EXPECT_NEAR(share[0], 0.5, kShare);
  EXPECT_NEAR(share[1], 0.3, kShare);
  EXPECT_NEAR(share[2], 0.2, kShare);
}

TEST(Sampling, TemperatureRaisesProbabilitiesToItsInverse) {
  const auto share = shares({.temperature = 0.5});  // squares: 25, 9, 4 of 38
  EXPECT_NEAR(share[0], 25 / 38.0, kShare);
  EXPECT_NEAR(share[2], 4 / 38.0, kShare);
}

TEST(Sampling, TopKKeepsTheLikeliest) {
  const auto share = shares({.temperature = 1, .top_k = 2});
  EXPECT_NEAR(share[0], 5 / 8.0, kShare);
  EXPECT_EQ(share[2], 0);
  const auto first = shares({.temperature = 1, .top_k = 1});
  EXPECT_EQ(first[1] + first[2], 0);
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  const auto share = shares({.temperature = 1, .top_p = 0.7});  // 0.5 + 0.3
  EXPECT_NEAR(share[0], 5 / 8.0, kShare);
  EXPECT_EQ(share[2], 0);
  EXPECT_EQ(shares({.temperature = 1, .top_p = 0.4})[1], 0);
}

TEST(Sampling, ARowsChoiceDoesNotDependOnItsNeighbours) {
  const at::Tensor logits = at::tensor({0.F, 0.1F, 0.2F, 0.3F}).unsqueeze(0).expand({8, 4});
  std::vector<Stream> all = streams(8);
  const std::vector<int32_t> together = choose(logits, {.temperature = 1}, all);
  for (size_t b = 0; b < 8; ++b) {
    Stream mine = streams(8)[b];
    EXPECT_EQ(one(logits[0], {.temperature = 1}, mine), together[b]);
  }
}

}  // namespace
}  // namespace suture::decode
