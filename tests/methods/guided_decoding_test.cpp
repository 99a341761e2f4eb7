// SPDX-License-Identifier: Apache-2.0
// Against a closed form in fp64 (tests/oracle/heads_reference.py), and the identities the formula promises.
#include "methods/guided_decoding.h"

#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::methods {
namespace {

using test::error_of;
using ::testing::HasSubstr;

at::Tensor row_of(const Json& numbers) {
  return at::tensor(numbers.get<std::vector<double>>(), at::kDouble).unsqueeze(0);
}

class Guide : public ::testing::Test {
 protected:
  Json guide_ = read_json(fixtures::root() / "expected" / "guide.json");
};

TEST_F(Guide, EqualsTheClosedForm) {
  for (const Json& row : guide_["rows"])
    for (const auto& [lambda, log_s] : row["log_s"].items()) {
      const at::Tensor p = row_of(row["log_p"]), u = row_of(row["log_u"]);
      const double power = std::stod(lambda) / (1 - std::stod(lambda));
      // fp64 carries 16 digits of numbers up to a thousand; fp32 rounds a log-probability of size 10 by 1e-6, times the
      // power.
      EXPECT_LT(fixtures::max_difference(guided_log_probs(p, u, std::stod(lambda)), row_of(log_s)), 1e-10) << lambda;
      EXPECT_LT(fixtures::max_difference(guided_log_probs(p.to(at::kFloat), u.to(at::kFloat), std::stod(lambda)),
                                         row_of(log_s)),
                2e-6 * (1 + 2 * power))
          << lambda;
    }
}

TEST_F(Guide, LambdaZeroIsTheModelItself) {
  for (const Json& row : guide_["rows"])
    EXPECT_TRUE(guided_log_probs(row_of(row["log_p"]), row_of(row["log_u"]), 0).equal(row_of(row["log_p"])));
}

TEST_F(Guide, AHarmfulModelThatIsTheModelChangesNothing) {
  for (const Json& row : guide_["rows"])
    for (const double lambda : {0.5, 0.9, 0.99}) {
      const at::Tensor p = row_of(row["log_p"]);
      EXPECT_LT(fixtures::max_difference(guided_log_probs(p, p, lambda), p), 1e-12)
          << lambda;  // one renormalisation in fp64
    }
}

TEST_F(Guide, MoreWeightNeverHelpsAVetoedToken) {
  for (const Json& row : guide_["rows"]) {
    const at::Tensor p = row_of(row["log_p"]), u = row_of(row["log_u"]);
    const at::Tensor vetoed = p < u;
    if (!vetoed.any().item<bool>()) continue;
    const auto mass = [&](double lambda) {
      return guided_log_probs(p, u, lambda).exp().masked_select(vetoed).sum().item<double>();
    };
    double last = mass(0);
    for (const double lambda : {0.1, 0.3, 0.5, 0.7, 0.9, 0.99}) {
      EXPECT_LT(mass(lambda), last) << lambda;
      last = mass(lambda);
    }
  }
}

TEST_F(Guide, TokensTheModelLikesAtLeastAsMuchKeepTheirOdds) {
  for (const Json& row : guide_["rows"]) {
    const at::Tensor p = row_of(row["log_p"]), u = row_of(row["log_u"]);
    const at::Tensor liked = p >= u;
    const at::Tensor shift = (guided_log_probs(p, u, 0.9) - p).masked_select(liked);
    EXPECT_LT((shift.max() - shift.min()).item<double>(), 1e-12);
  }
}

TEST(GuidedLogProbs, AnExcludedTokenStaysExcludedWithoutNaN) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  // Tokens: both allow; only the model excludes; both exclude; only the harmful model excludes.
  const at::Tensor p = at::tensor({std::log(0.5), kNever, kNever, std::log(0.5)}, at::kDouble).unsqueeze(0);
  const at::Tensor u = at::tensor({std::log(0.75), std::log(0.25), kNever, kNever}, at::kDouble).unsqueeze(0);
  const at::Tensor s = guided_log_probs(p, u, 0.5).exp()[0];
  // Power 1: the first token is scaled by 0.5/0.75, the last is not vetoed: 1/3 to 1/2.
  EXPECT_NEAR(s[0].item<double>(), 0.4, 1e-12);
  EXPECT_EQ(s[1].item<double>(), 0);
  EXPECT_EQ(s[2].item<double>(), 0);
  EXPECT_NEAR(s[3].item<double>(), 0.6, 1e-12);
}

TEST(GuidedLogProbs, RefusesWhatItCannotDo) {
  const at::Tensor p = at::tensor({0.5, 0.5}, at::kDouble).log().unsqueeze(0);
  const at::Tensor wide = at::tensor({0.2, 0.3, 0.5}, at::kDouble).log().unsqueeze(0);
  for (const double lambda : {1.0, -0.1, std::nan("")}) {
    const Error error = error_of([&] { guided_log_probs(p, p, lambda); });
    EXPECT_EQ(error.code(), Code::kConfig) << lambda;
    EXPECT_THAT(error.what(), HasSubstr("it must lie in [0, 1)"));
  }
  const Error vocabulary = error_of([&] { guided_log_probs(p, wide, 0.5); });
  EXPECT_EQ(vocabulary.code(), Code::kModel);
  EXPECT_STREQ(vocabulary.what(), "cannot guide: the model has 2 tokens in its vocabulary, the harmful model 3");
  EXPECT_EQ(error_of([&] { guided_log_probs(p.to(at::kBFloat16), p.to(at::kBFloat16), 0.5); }).code(), Code::kBug);
  EXPECT_EQ(error_of([&] { guided_log_probs(p.to(at::kHalf), p.to(at::kHalf), 0); }).code(), Code::kBug);
}

}  // namespace
}  // namespace suture::methods
