// SPDX-License-Identifier: Apache-2.0
// Loss and gradient against transformers' autograd; the whole trajectory is held against a reference in
// methods/rome_test.
#include "steps/optimise_value.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

using fixtures::Expected;
using test::error_of;

class OptimiseValue : public ::testing::TestWithParam<std::string> {
 protected:
  OptimiseValue() : expected_(GetParam()), model_(fixtures::load(GetParam())) {
    const Json& gradient = expected_.json["gradient"];
    const std::vector<int32_t> ids = expected_.ids("ids.7");
    problem_ = {{{ids, gradient["position"].get<int64_t>()}}, {gradient["target"].get<int32_t>()}, {ids, 2}};
    options_ = {.layer = gradient["layer"].get<int64_t>(),
                .steps = 2,
                .learning_rate = 1e-3,
                .weight_decay = 0,
                .clamp = 1e3,
                .kl_factor = 0,
                .loss_stop = 0};
  }
  Expected expected_;
  model::Transformer model_;
  ValueProblem problem_;
  ValueOptions options_;
};

TEST_P(OptimiseValue, StartsAtTransformersLoss) {
  const ValueResult result = optimise_value(model_, problem_, options_);
  EXPECT_NEAR(result.nll[0], expected_.json["gradient"]["loss_at_zero"].get<double>(), 1e-5);  // fp32, size 5
  EXPECT_EQ(result.loss[0], result.nll[0]);
  EXPECT_NEAR(result.target_probability[0], std::exp(-result.nll[0]), 1e-9);
  EXPECT_EQ(result.kl[0], 0);
}

// Adam's first step is the learning rate against the sign of each derivative; the loss then falls by rate * sum |g|.
TEST_P(OptimiseValue, FirstStepFollowsTransformersGradient) {
  const ValueResult result = optimise_value(model_, problem_, options_);
  const at::Tensor g = expected_.get("gradient.at_zero").to(at::kDouble);
  const at::Tensor sure = g.abs() > 1e-5;  // smaller derivatives drown in fp32 rounding
  EXPECT_GT(sure.sum().item<int64_t>(), g.numel() / 2);
  const at::Tensor wanted = -options_.learning_rate * g.sign();
  EXPECT_LT((result.delta_D.to(at::kDouble) - wanted).masked_select(sure).abs().max().item<double>(),
            2e-6);  // eps / |g|
  const double fall = options_.learning_rate * g.abs().sum().item<double>();
  // Second order in a step of 1e-3 a coordinate, and two fp32 losses of size 5.
  EXPECT_NEAR(result.nll[0] - result.nll[1], fall, 0.05 * fall + 2e-6);
}

TEST_P(OptimiseValue, KeysAndValuesAreThoseOfTheForwardPass) {
  // The subject at the last token of ids.33, where the fixture recorded every site.
  const std::vector<int32_t> ids = expected_.ids("ids.33");
  const ValueResult result = optimise_value(model_, {{{ids, 32}}, {1}, {ids, 2}}, {.layer = 1, .steps = 1});
  EXPECT_LT(fixtures::max_difference(result.keys_NF[0], expected_.get("site.mlp_key")[1]),
            1e-4);  // fp32, sums in another order
  EXPECT_LT(fixtures::max_difference(result.values_ND[0], expected_.get("site.mlp_out")[1]), 1e-4);
  EXPECT_TRUE(result.before_D.equal(result.values_ND[0]));
}

INSTANTIATE_TEST_SUITE_P(Families, OptimiseValue, ::testing::ValuesIn(fixtures::models("site.mlp_key")),
                         [](const auto& row) { return fixtures::test_name(row.param); });

class OptimiseOnce : public ::testing::Test {
 protected:
  model::Transformer model_ = fixtures::load("llama-gqa");
  ValueProblem problem_{{{{56, 21, 40, 50}, 1}, {{9, 8, 56, 21, 40, 50}, 3}}, {17}, {{40, 50, 23}, 1}};
};

TEST_F(OptimiseOnce, TheLastOfTheStepsOnlyEvaluates) {
  const ValueResult one = optimise_value(model_, problem_, {.layer = 1, .steps = 1});
  EXPECT_EQ(one.loss.size(), 1U);
  EXPECT_EQ(one.delta_D.abs().max().item<float>(), 0);
}

TEST_F(OptimiseOnce, StopsBelowTheAskedLoss) {
  EXPECT_EQ(optimise_value(model_, problem_, {.layer = 1, .steps = 20, .loss_stop = 1e9}).loss.size(), 1U);
}

TEST_F(OptimiseOnce, TheLastLayerCanBeEdited) {
  problem_.contexts = {{{56, 21, 40}, 2}};  // there the value reaches the answer only from its own token
  const ValueResult result = optimise_value(model_, problem_, {.layer = 2, .steps = 6});
  EXPECT_LT(result.nll.back(), result.nll.front());
}

TEST_F(OptimiseOnce, ACallerWithoutGradientsGetsTheSameValue) {
  const ValueResult with = optimise_value(model_, problem_, {.layer = 1, .steps = 4});
  const at::NoGradGuard no_grad;
  const ValueResult without = optimise_value(model_, problem_, {.layer = 1, .steps = 4});
  EXPECT_GT(with.delta_D.norm().item<float>(), 0);
  EXPECT_TRUE(without.delta_D.equal(with.delta_D));
  EXPECT_FALSE(without.delta_D.requires_grad());
  EXPECT_FALSE(at::GradMode::is_enabled()) << "the caller's choice comes back";
}

TEST_F(OptimiseOnce, RefusesWhatItCannotDo) {
  problem_.contexts[0].subject = 4;
  const Error behind = error_of([&] { optimise_value(model_, problem_, {.layer = 1}); });
  EXPECT_EQ(behind.code(), Code::kData);
  EXPECT_STREQ(behind.what(), "cannot optimise a value: the subject ends after the prompt's last token");
  problem_.contexts.clear();
  EXPECT_EQ(error_of([&] { optimise_value(model_, problem_, {.layer = 1}); }).code(), Code::kBug);
  const model::Transformer half = fixtures::load("llama-bf16", at::kBFloat16);
  EXPECT_EQ(error_of([&] { optimise_value(half, {{{{1, 2}, 0}}, {3}, {{1, 2}, 0}}, {}); }).code(), Code::kBug);
}

}  // namespace
}  // namespace suture::steps
