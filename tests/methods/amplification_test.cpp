// SPDX-License-Identifier: Apache-2.0
// Head means, causal effects and the safety vector against an fp64 run (tests/oracle/heads_reference.py).
#include "methods/amplification.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "steps/collect.h"
#include "steps/head_effects.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::methods {
namespace {

using fixtures::Expected;
using fixtures::max_difference;
using test::error_of;

// Probabilities near 0.03 and activations near 1, computed in fp32 through three layers.
constexpr double kProbability = 1e-6, kActivation = 1e-5;

class Amplification : public ::testing::Test {
 protected:
  at::Tensor mean() const {
    const auto prompts = expected_.json["clean"].get<std::vector<std::vector<int32_t>>>();
    return mean_heads(model_.config(),
                      steps::last_token_activations(model_, prompts, head_points(model_.config()), "test"));
  }
  steps::HeadEffects effects() const {
    return steps::head_effects(model_, expected_.json["corrupted"].get<std::vector<std::vector<int32_t>>>(), mean(),
                               expected_.json["refusal"].get<std::vector<int32_t>>());
  }

  Expected expected_{"heads-llama-gqa"};
  model::Transformer model_ = fixtures::load("llama-gqa");
};

TEST_F(Amplification, MeanHeadsEqualTheReferences) {
  EXPECT_LT(max_difference(mean(), expected_.get("mean_heads")), kActivation);
}

TEST_F(Amplification, EffectsEqualOneForwardPassAHead) {
  const steps::HeadEffects effect = effects();
  const at::Tensor before = expected_.get("P0");
  for (int64_t p = 0; p < before.size(0); ++p)
    EXPECT_NEAR(effect.before[size_t(p)], before[p].item<double>(), kProbability);
  EXPECT_LT(max_difference(effect.effect_PLH, expected_.get("P") - before.view({-1, 1, 1})), kProbability);
  EXPECT_LT(max_difference(effect.mean_LH(), expected_.get("AIE")), kProbability);
}

TEST_F(Amplification, ChoosesTheReferencesHeadsAndVector) {
  const std::vector<Head> heads = top_heads(effects().mean_LH(), 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(heads[i].layer, expected_.json["top_heads"][i][0]);
    EXPECT_EQ(heads[i].head, expected_.json["top_heads"][i][1]);
    EXPECT_NEAR(heads[i].score, expected_.json["top_effects"][i].get<double>(), kProbability);
  }
  EXPECT_LT(max_difference(safety_vector(model_, mean(), heads), expected_.get("safety_vector")), kActivation);
}

TEST_F(Amplification, AHeadGivenTwiceCountsOnce) {
  const auto once = given_heads(model_.config(), {{2, 2}, {0, 3}, {1, 1}});
  const auto twice = given_heads(model_.config(), {{2, 2}, {0, 3}, {2, 2}, {1, 1}, {0, 3}});
  ASSERT_EQ(twice.size(), 3U);
  EXPECT_TRUE(std::isnan(twice[0].score));
  EXPECT_TRUE(safety_vector(model_, mean(), twice).equal(safety_vector(model_, mean(), once)));
  EXPECT_LT(max_difference(safety_vector(model_, mean(), twice), expected_.get("safety_vector")), kActivation);
}

TEST_F(Amplification, RefusesHeadsTheModelLacks) {
  const Error error = error_of([&] { given_heads(model_.config(), {{0, 1}, {3, 0}}); });
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_STREQ(error.what(), "cannot use head [3, 0]: model has layers 0..2 and heads 0..3");
  EXPECT_EQ(error_of([&] { given_heads(model_.config(), {{0, 4}}); }).code(), Code::kModel);
  EXPECT_EQ(error_of([&] { given_heads(model_.config(), {{-1, 0}}); }).code(), Code::kModel);
  EXPECT_STREQ(error_of([&] {
                 given_heads(model_.config(), {{1, 2, 3}});
               }).what(),
               "cannot read heads: each must be [layer, head], got 3 numbers");
}

TEST_F(Amplification, BiasOfTheProjectionIsNotAdded) {
  const model::Transformer biased = fixtures::load("llama-bias");
  const auto& c = biased.config();
  EXPECT_EQ(safety_vector(biased, at::zeros({c.layers, c.heads, c.head_dim}), given_heads(c, {{0, 0}, {1, 1}}))
                .abs()
                .max()
                .item<float>(),
            0);
}

TEST(TopHeads, TiesGoToTheEarlierHead) {
  const at::Tensor score = at::tensor({1.0, 3.0, 3.0, 2.0}, at::kDouble).view({2, 2});
  const std::vector<Head> heads = top_heads(score, 3);
  EXPECT_EQ(heads, (std::vector<Head>{{0, 1, 3}, {1, 0, 3}, {1, 1, 2}}));
  EXPECT_STREQ(error_of([&] { top_heads(score, 5); }).what(), "cannot choose 5 heads: model has 4");
  EXPECT_EQ(error_of([&] { top_heads(score, 0); }).code(), Code::kConfig);
}

}  // namespace
}  // namespace suture::methods
