// SPDX-License-Identifier: Apache-2.0
// Distributions step by step against a forward pass over the whole text.
#include "decode/next_token.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::decode {
namespace {

using fixtures::max_difference;
using test::error_of;

// Logits of size 10 after three layers in fp32, sums in another order.
constexpr double kFp32 = 1e-4;

std::vector<int32_t> random_ids(int64_t n, const std::string& name) {
  Stream stream(5, name);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(int32_t(stream.below(112)));
  return ids;
}

std::vector<Prompt> prompts_of(const std::vector<std::vector<int32_t>>& rows) {
  std::vector<Prompt> prompts;
  for (const auto& ids : rows) prompts.push_back({ids, {}});
  return prompts;
}

// A random vector at every site, on the tokens asked for; lengths are those of the activations.
hook::Plan plan_at(const model::Transformer& model, hook::Site site, const std::string& where, double scale = 1) {
  const int64_t layer = site == hook::Site::kEmbed || site == hook::Site::kFinalNorm ? 0 : 1;
  std::vector<float> numbers;
  Stream stream(6, hook::name(site));
  for (int64_t i = 0; i < model.width_of(site); ++i) numbers.push_back(float(stream.uniform() - 0.5));
  return {{{{site, layer}, hook::Where::parse(where), hook::Action::kAdd, scale, at::tensor(numbers), "v"}}, {}};
}

// Logits of the last token of prompt + continuation in one pass, without a cache, alone.
at::Tensor recomputed(const model::Transformer& model, std::vector<int32_t> prompt, const std::vector<int32_t>& more,
                      const hook::Plan* plan) {
  const auto length = int64_t(prompt.size());
  prompt.insert(prompt.end(), more.begin(), more.end());
  model::Batch batch = model::pad_left({prompt});
  batch.tokens.prompt_length = {length};
  hook::PlanRun run(plan == nullptr ? hook::Plan{} : *plan);
  return model.last_logits(batch, nullptr, plan == nullptr ? nullptr : &run)[0];
}

class NextTokenTest : public ::testing::Test {
 protected:
  // Feeds four given tokens a row and compares every distribution with recomputation.
  void expect_steps(const std::vector<std::vector<int32_t>>& rows, const hook::Plan* plan) {
    PlainNextToken next(model_, plan);
    at::Tensor logits = next.prefill(prompts_of(rows), 5);
    for (size_t step = 0; step < 4; ++step) {
      std::vector<int32_t> ids;
      for (size_t b = 0; b < rows.size(); ++b) {
        const std::vector<int32_t> made = random_ids(4, fmt::format("row {}", b));
        const std::vector<int32_t> before(made.begin(), made.begin() + int64_t(step));
        EXPECT_LT(max_difference(logits[int64_t(b)], recomputed(model_, rows[b], before, plan)), kFp32)
            << "row " << b << " step " << step;
        ids.push_back(made[step]);
      }
      logits = next.step(ids);
    }
  }

  at::NoGradGuard no_grad_;
  model::Transformer model_ = fixtures::load("llama-gqa");
  std::vector<std::vector<int32_t>> ragged_ = {random_ids(3, "a"), random_ids(17, "b"), random_ids(9, "c")};
};

TEST_F(NextTokenTest, CachedStepsEqualRecomputation) { expect_steps(ragged_, nullptr); }

TEST_F(NextTokenTest, CachedStepsUnderAPlanEqualRecomputation) {
  using hook::Site;
  for (const Site site :
       {Site::kEmbed, Site::kHeadOut, Site::kAttnOut, Site::kMlpKey, Site::kMlpOut, Site::kResidOut, Site::kFinalNorm})
    for (const std::string where : {"all", "last", "last+2", "step 1", "prompt", "generated", "index 2"}) {
      SCOPED_TRACE(fmt::format("{} {}", hook::name(site), where));
      const hook::Plan plan = plan_at(model_, site, where);
      expect_steps(ragged_, &plan);
    }
}

TEST_F(NextTokenTest, ACommonStartIsComputedOnceAndChangesNothing) {
  std::vector<std::vector<int32_t>> rows;
  for (const int64_t rest : {1, 4, 9}) {
    std::vector<int32_t> ids = random_ids(12, "common");
    const std::vector<int32_t> tail = random_ids(rest, fmt::format("tail {}", rest));
    ids.insert(ids.end(), tail.begin(), tail.end());
    rows.push_back(std::move(ids));
  }
  expect_steps(rows, nullptr);
  for (const std::string where : {"all", "last+2", "step 1", "prompt", "index 3"}) {
    SCOPED_TRACE(where);
    const hook::Plan plan = plan_at(model_, hook::Site::kResidOut, where);
    expect_steps(rows, &plan);
  }
  // 12 common tokens once instead of three times: the counter sees it.
  const hook::Plan plan = plan_at(model_, hook::Site::kResidOut, "all");
  PlainNextToken next(model_, &plan);
  next.prefill(prompts_of(rows), 1);
  EXPECT_EQ(next.applied(), 12 + 1 + 4 + 9);
}

TEST_F(NextTokenTest, EqualPromptsShareAllButTheirLastToken) {
  const std::vector<int32_t> ids = random_ids(14, "equal");
  expect_steps({ids, ids}, nullptr);
  const hook::Plan plan = plan_at(model_, hook::Site::kResidOut, "last");
  expect_steps({ids, ids}, &plan);
}

TEST_F(NextTokenTest, GateDecidesARowAtItsLastPromptToken) {
  hook::Plan plan = plan_at(model_, hook::Site::kResidOut, "all");
  std::vector<double> scores;
  plan.gate = hook::Gate{{hook::Site::kResidOut, 0}, plan.interventions[0].vector_D, 0, 0, "g"};
  for (const auto& row : ragged_) {
    hook::PlanRun run(plan);
    model_.last_logits(model::pad_left({row}), nullptr, &run);
    scores.push_back(run.gate_scores()[0]);
  }
  std::vector<double> sorted = scores;
  std::sort(sorted.begin(), sorted.end());
  plan.gate->threshold = (sorted[1] + sorted[2]) / 2;  // one row of three is above it
  PlainNextToken next(model_, &plan);
  const at::Tensor logits = next.prefill(prompts_of(ragged_), 2);
  for (size_t b = 0; b < 3; ++b) {
    EXPECT_EQ(next.gates()[b] != 0, scores[b] > plan.gate->threshold);
    const at::Tensor plain = recomputed(model_, ragged_[b], {}, nullptr);
    if (scores[b] > plan.gate->threshold) {
      EXPECT_GT(max_difference(logits[int64_t(b)], plain), 10 * kFp32);
    } else {
      EXPECT_LT(max_difference(logits[int64_t(b)], plain), kFp32);
    }
  }
  expect_steps(ragged_, &plan);
}

TEST_F(NextTokenTest, CountsEveryTokenItTouches) {
  const hook::Plan plan = plan_at(model_, hook::Site::kMlpOut, "all");
  PlainNextToken next(model_, &plan);
  next.prefill(prompts_of(ragged_), 3);
  EXPECT_EQ(next.applied(), 3 + 17 + 9);
  next.step({1, 2, 3});
  EXPECT_EQ(next.applied(), 3 + 17 + 9 + 3);
  next.keep_rows({1});
  next.step({4});
  EXPECT_EQ(next.applied(), 3 + 17 + 9 + 3 + 1);
}

TEST_F(NextTokenTest, RowsThatStayGoOnAsBefore) {
  const hook::Plan plan = plan_at(model_, hook::Site::kResidOut, "last+2");
  for (const hook::Plan* p : {static_cast<const hook::Plan*>(nullptr), &plan}) {
    PlainNextToken next(model_, p);
    next.prefill(prompts_of(ragged_), 4);
    next.step({1, 2, 3});
    next.keep_rows({2, 0});
    const at::Tensor logits = next.step({7, 8});
    EXPECT_LT(max_difference(logits[0], recomputed(model_, ragged_[2], {3, 7}, p)), kFp32);
    EXPECT_LT(max_difference(logits[1], recomputed(model_, ragged_[0], {1, 8}, p)), kFp32);
  }
}

at::Tensor combine_half(const at::Tensor& p, const at::Tensor& u) {
  return at::log_softmax(p + (p - u).clamp_max(0), -1);
}

class GuidedTest : public NextTokenTest {
 protected:
  std::unique_ptr<GuidedNextToken> guided(const model::Transformer& other, Combine combine,
                                          const hook::Plan* plan = nullptr) const {
    return std::make_unique<GuidedNextToken>(std::make_unique<PlainNextToken>(model_, plan),
                                             std::make_unique<PlainNextToken>(other, nullptr, true),
                                             std::move(combine));
  }
  at::Tensor by_hand(const std::vector<int32_t>& prompt, const std::vector<int32_t>& other_prompt,
                     const std::vector<int32_t>& more, const hook::Plan* plan) const {
    return combine_half(at::log_softmax(recomputed(model_, prompt, more, plan), -1),
                        at::log_softmax(recomputed(other_, other_prompt, more, nullptr), -1));
  }
  model::Transformer other_ = fixtures::load("llama-tied");
};

TEST_F(GuidedTest, CombinesTwoModelsStepByStep) {
  const hook::Plan plan = plan_at(model_, hook::Site::kResidOut, "last+1");
  for (const hook::Plan* p : {static_cast<const hook::Plan*>(nullptr), &plan}) {
    const auto next = guided(other_, combine_half, p);
    at::Tensor logits = next->prefill(prompts_of(ragged_), 3);
    for (size_t b = 0; b < 3; ++b)
      EXPECT_LT(max_difference(logits[int64_t(b)], by_hand(ragged_[b], ragged_[b], {}, p)), kFp32);
    logits = next->step({5, 6, 7});
    for (size_t b = 0; b < 3; ++b)
      EXPECT_LT(max_difference(logits[int64_t(b)], by_hand(ragged_[b], ragged_[b], {int32_t(5 + b)}, p)), kFp32);
    next->keep_rows({1});
    logits = next->step({9});
    EXPECT_LT(max_difference(logits[0], by_hand(ragged_[1], ragged_[1], {6, 9}, p)), kFp32);
  }
}

TEST_F(GuidedTest, TheSecondModelReadsItsOwnPrompt) {
  const std::vector<int32_t> own = random_ids(6, "own");
  const auto next = guided(other_, combine_half);
  const at::Tensor logits = next->prefill({{ragged_[0], own}, {ragged_[2], {}}}, 2);
  EXPECT_LT(max_difference(logits[0], by_hand(ragged_[0], own, {}, nullptr)), kFp32);
  EXPECT_LT(max_difference(logits[1], by_hand(ragged_[2], ragged_[2], {}, nullptr)), kFp32);
  EXPECT_LT(max_difference(next->step({5, 6})[0], by_hand(ragged_[0], own, {5}, nullptr)), kFp32);
}

TEST_F(GuidedTest, AModelGuidedByItselfIsItself) {
  const auto next = guided(model_, combine_half);
  const at::Tensor logits = next->prefill(prompts_of(ragged_), 2);
  for (size_t b = 0; b < 3; ++b)
    EXPECT_LT(max_difference(logits[int64_t(b)], at::log_softmax(recomputed(model_, ragged_[b], {}, nullptr), -1)),
              kFp32);
}

// Answers with rows of a given width.
class Fixed : public NextToken {
 public:
  explicit Fixed(int64_t vocab) : vocab_(vocab) {}
  at::Tensor prefill(const std::vector<Prompt>& prompts, int64_t) override {
    return at::zeros({int64_t(prompts.size()), vocab_});
  }
  at::Tensor step(const std::vector<int32_t>& ids) override { return at::zeros({int64_t(ids.size()), vocab_}); }
  void keep_rows(const std::vector<int64_t>&) override {}
  uint64_t cache_bytes() const override { return 0; }

 private:
  int64_t vocab_;
};

TEST(Guided, RefusesModelsWithOtherVocabularies) {
  GuidedNextToken next(std::make_unique<Fixed>(112), std::make_unique<Fixed>(113), combine_half);
  const Error error = error_of([&] { next.prefill({{{1}, {}}}, 1); });
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_STREQ(error.what(), "cannot guide: the model has 112 tokens in its vocabulary, the harmful model 113");
}

}  // namespace
}  // namespace suture::decode
