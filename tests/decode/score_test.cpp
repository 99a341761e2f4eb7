// SPDX-License-Identifier: Apache-2.0
#include "decode/score.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/topk.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/fixtures.h"

namespace suture::decode {
namespace {

using fixtures::Expected;

// Log-probabilities of size 10 in fp32, sums in another order.
constexpr double kFp32 = 1e-4;

class Score : public ::testing::Test {
 protected:
  hook::Plan plan(const std::string& where) const {
    return {{{{hook::Site::kResidOut, 1},
              hook::Where::parse(where),
              hook::Action::kAdd,
              1,
              at::ones({model_.config().width}),
              "v"}},
            {}};
  }

  at::NoGradGuard no_grad_;
  Expected expected_{"llama-gqa"};
  model::Transformer model_ = fixtures::load("llama-gqa");
  std::vector<int32_t> ids_ = expected_.ids("ids.33");
};

TEST_F(Score, LogProbabilitiesAreTransformers) {
  const at::Tensor log_p = at::log_softmax(expected_.get("logits.33").to(at::kDouble), -1);
  const TextScore score = decode::score(model_, {ids_, 1}, nullptr, 3);
  ASSERT_EQ(score.tokens.size(), 33U);
  EXPECT_TRUE(std::isnan(score.tokens[0].log_prob));
  double nll = 0;
  for (size_t t = 1; t < 33; ++t) {
    const double expected = log_p[int64_t(t) - 1][ids_[t]].item<double>();
    EXPECT_EQ(score.tokens[t].id, ids_[t]);
    EXPECT_NEAR(score.tokens[t].log_prob, expected, kFp32);
    nll -= expected;
  }
  EXPECT_EQ(score.counted, 32);
  EXPECT_NEAR(score.nll, nll, 32 * kFp32);
  EXPECT_NEAR(score.perplexity() / std::exp(nll / 32), 1, 2 * kFp32);
}

TEST_F(Score, TopTokensAreTheLikeliestNextOnes) {
  const at::Tensor log_p = at::log_softmax(expected_.get("logits.33").to(at::kDouble), -1);
  const TextScore score = decode::score(model_, {ids_, 1}, nullptr, 3);
  for (int64_t t = 0; t < 33; ++t) {
    const auto [value, index] = at::topk(log_p[t], 3);
    ASSERT_EQ(score.tokens[size_t(t)].top.size(), 3U);
    EXPECT_EQ(score.tokens[size_t(t)].top[0].first, index[0].item<int64_t>()) << t;
    for (int64_t k = 0; k < 3; ++k)
      EXPECT_NEAR(score.tokens[size_t(t)].top[size_t(k)].second, value[k].item<double>(), kFp32) << t;
  }
  EXPECT_TRUE(decode::score(model_, {ids_, 1}, nullptr).tokens[0].top.empty());
}

TEST_F(Score, ContextIsReadAndNotCounted) {
  const TextScore whole = decode::score(model_, {ids_, 1}, nullptr), tail = decode::score(model_, {ids_, 20}, nullptr);
  EXPECT_EQ(tail.counted, 13);
  double nll = 0;
  for (size_t t = 20; t < 33; ++t) nll -= whole.tokens[t].log_prob;
  EXPECT_NEAR(tail.nll, nll, 1e-9);  // the same fp32 numbers summed in fp64
}

// Longer than the chunk of positions whose logits are held at once.
TEST_F(Score, LongTextsAreScoredInPieces) {
  const std::vector<int32_t> ids = expected_.ids("ids.1100");
  const at::Tensor log_p = at::log_softmax(model_.logits(model::pad_left({ids}), nullptr, nullptr)[0], -1);
  const TextScore score = decode::score(model_, {ids, 1}, nullptr);
  for (size_t t = 1; t < ids.size(); ++t)
    ASSERT_NEAR(score.tokens[t].log_prob, log_p[int64_t(t) - 1][ids[t]].item<double>(), kFp32) << t;
  EXPECT_EQ(score.counted, 1099);
}

TEST_F(Score, UnderAPlanTheContextIsThePrompt) {
  for (const std::string where : {"prompt", "generated", "last+1", "all"}) {
    const hook::Plan p = plan(where);
    model::Batch batch = model::pad_left({ids_});
    batch.tokens.prompt_length = {20};
    hook::PlanRun run(p);
    const at::Tensor log_p = at::log_softmax(model_.logits(batch, nullptr, &run)[0], -1);
    const TextScore score = decode::score(model_, {ids_, 20}, &p);
    for (size_t t = 1; t < 33; ++t)
      EXPECT_NEAR(score.tokens[t].log_prob, log_p[int64_t(t) - 1][ids_[t]].item<double>(), kFp32) << where << " " << t;
  }
}

class Compare : public Score {
 protected:
  std::vector<ScoreText> texts_ = {{ids_, 1}, {expected_.ids("ids.7"), 3}, {expected_.ids("ids.1100"), 900}};
  Reference reference_ = make_reference(model_, texts_);
};

TEST_F(Compare, AModelDoesNotDifferFromItself) {
  const Divergence same = compare(model_, texts_, nullptr, &reference_);
  ASSERT_EQ(same.kl.size(), size_t(32 + 4 + 200));
  for (const double kl : same.kl) EXPECT_NEAR(kl, 0, 1e-6);  // a sum of 112 fp32 products that cancel
}

TEST_F(Compare, LikelihoodsAreThoseOfScore) {
  const Divergence same = compare(model_, texts_, nullptr, nullptr);
  EXPECT_TRUE(same.kl.empty());
  double nll = 0, counted = 0;
  for (const ScoreText& text : texts_) {
    const TextScore score = decode::score(model_, text, nullptr);
    nll += score.nll;
    counted += double(score.counted);
  }
  EXPECT_NEAR(same.perplexity() / std::exp(nll / counted), 1, kFp32);
}

TEST_F(Compare, DivergenceIsTheSumOverTheVocabulary) {
  const model::Transformer other = fixtures::load("llama-tied");
  const Divergence divergence = compare(other, texts_, nullptr, &reference_);
  size_t i = 0;
  for (const ScoreText& text : texts_) {
    const at::Tensor p =
        at::log_softmax(model_.logits(model::pad_left({text.ids}), nullptr, nullptr)[0].to(at::kDouble), -1);
    const at::Tensor q =
        at::log_softmax(other.logits(model::pad_left({text.ids}), nullptr, nullptr)[0].to(at::kDouble), -1);
    const at::Tensor kl = (p.exp() * (p - q)).sum(-1);
    for (size_t t = size_t(text.context) - 1; t + 1 < text.ids.size(); ++t, ++i) {
      ASSERT_LT(i, divergence.kl.size());
      EXPECT_GE(divergence.kl[i], 0);
      EXPECT_NEAR(divergence.kl[i], kl[int64_t(t)].item<double>(), kFp32);
      EXPECT_NEAR(divergence.nll[i], -q[int64_t(t)][text.ids[t + 1]].item<double>(), kFp32);
    }
  }
  EXPECT_EQ(i, divergence.kl.size());
  EXPECT_GT(divergence.mean_kl(), 0.01);
}

// The reference is kept as hidden states: editing the loaded model afterwards must not change it.
TEST_F(Compare, TheReferenceOutlivesAnEditOfTheModel) {
  model_.down_OI(1).mul_(0.5);
  const Divergence after = compare(model_, texts_, nullptr, &reference_);
  EXPECT_GT(after.mean_kl(), 1e-3);
  for (const double kl : after.kl) EXPECT_GE(kl, -1e-6);  // rounding of a sum that may be nearly 0
}

TEST_F(Compare, APlanCountsAsAChange) {
  const hook::Plan p = plan("all");
  EXPECT_GT(compare(model_, texts_, &p, &reference_).mean_kl(), 1e-3);
}

}  // namespace
}  // namespace suture::decode
