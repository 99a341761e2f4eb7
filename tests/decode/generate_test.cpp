// SPDX-License-Identifier: Apache-2.0
// Greedy texts equal transformers'; what a row says does not depend on its batch.
#include "decode/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <set>

#include "support/fixtures.h"

namespace suture::decode {
namespace {

using fixtures::Expected;

std::vector<Prompt> ragged(const Expected& expected) {
  std::vector<Prompt> prompts;
  for (const std::string row : {"0", "1", "2"}) prompts.push_back({expected.ids("ragged.prompt." + row), {}});
  return prompts;
}

std::vector<std::vector<int32_t>> ids_of(const std::vector<Completion>& completions) {
  std::vector<std::vector<int32_t>> out;
  for (const Completion& c : completions) out.push_back(c.ids);
  return out;
}

// Each row in a batch of its own.
std::vector<std::vector<int32_t>> alone(const model::Transformer& model, const hook::Plan* plan,
                                        const std::vector<Prompt>& prompts, GenerateOptions options) {
  options.batch = 1;
  PlainNextToken next(model, plan);
  return ids_of(generate(next, prompts, options));
}

class EveryModel : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryModel, GreedyTextsEqualTransformers) {
  const model::Transformer model = fixtures::load(GetParam());
  const Expected expected(GetParam().substr(0, GetParam().find('.')));  // a GGUF file holds the folder's weights
  for (const int64_t batch : {3, 2, 1}) {
    PlainNextToken next(model, nullptr);
    const auto completions = generate(next, ragged(expected), {.max_new = 32, .batch = batch});
    for (size_t b = 0; b < 3; ++b) {
      EXPECT_EQ(completions[b].ids, expected.ids(fmt::format("ragged.generated.{}", b)))
          << "batch of " << batch << ", row " << b;
      EXPECT_EQ(completions[b].finish, Finish::kLength);
      EXPECT_TRUE(completions[b].gate_open);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EveryModel, ::testing::ValuesIn([] {
                           std::vector<std::string> all = fixtures::models();
                           all.insert(all.end(), {"llama-gqa.gguf", "gpt2.gguf"});
                           return all;
                         }()),
                         [](const auto& row) { return fixtures::test_name(row.param); });

class Generate : public ::testing::Test {
 protected:
  hook::Plan plan(const std::string& where, double scale = 1) const {
    std::vector<float> numbers;
    Stream stream(8, "vector");
    for (int64_t i = 0; i < model_.config().width; ++i) numbers.push_back(float(2 * stream.uniform() - 1));
    return {
        {{{hook::Site::kResidOut, 1}, hook::Where::parse(where), hook::Action::kAdd, scale, at::tensor(numbers), "v"}},
        {}};
  }
  std::vector<Completion> run(const hook::Plan* plan, const GenerateOptions& options) const {
    PlainNextToken next(model_, plan);
    return generate(next, prompts_, options);
  }

  Expected expected_{"llama-gqa"};
  model::Transformer model_ = fixtures::load("llama-gqa");
  std::vector<Prompt> prompts_ = ragged(expected_);
};

TEST_F(Generate, UnderAPlanEveryRowEqualsItsOwnRun) {
  for (const std::string where : {"last+2", "last", "all", "generated", "prompt"}) {
    const hook::Plan p = plan(where);
    const GenerateOptions options{.max_new = 16};
    EXPECT_EQ(ids_of(run(&p, options)), alone(model_, &p, prompts_, options)) << where;
    EXPECT_NE(ids_of(run(&p, options)), ids_of(run(nullptr, options)))
        << where << ": the vector is too weak to test anything";
  }
}

TEST_F(Generate, UnderAPlanTheTextIsWhatAForwardPassWithoutCacheChooses) {
  const at::NoGradGuard no_grad;
  for (const std::string where : {"last+2", "last", "all", "generated", "prompt"}) {
    const hook::Plan p = plan(where);
    const auto completions = run(&p, {.max_new = 12});
    for (size_t b = 0; b < 3; ++b) {
      std::vector<int32_t> whole = prompts_[b].ids;
      whole.insert(whole.end(), completions[b].ids.begin(), completions[b].ids.end());
      model::Batch batch = model::pad_left({whole});
      batch.tokens.prompt_length = {int64_t(prompts_[b].ids.size())};
      hook::PlanRun hooks(p);
      const at::Tensor choice = model_.logits(batch, nullptr, &hooks)[0].argmax(-1);
      for (size_t i = 0; i < completions[b].ids.size(); ++i)
        EXPECT_EQ(choice[int64_t(prompts_[b].ids.size() + i) - 1].item<int64_t>(), completions[b].ids[i])
            << where << " row " << b << " token " << i;
    }
  }
}

TEST_F(Generate, ScaleZeroGivesThePlainText) {
  const hook::Plan p = plan("all", 0);
  EXPECT_EQ(ids_of(run(&p, {.max_new = 16})), ids_of(run(nullptr, {.max_new = 16})));
}

TEST_F(Generate, ThePlanActsOncePerTokenThatIsRead) {
  const hook::Plan all = plan("all"), last = plan("last+2");
  for (const auto& [p, touched] : std::vector<std::pair<const hook::Plan*, int64_t>>{{&all, 9 + 9}, {&last, 3}}) {
    PlainNextToken next(model_, p);
    generate(next, {prompts_[1]}, {.max_new = 10});  // the tenth new token is never read
    EXPECT_EQ(next.applied(), touched);
  }
}

TEST_F(Generate, StopTokensEndARowAndAreNotPartOfIt) {
  const std::vector<int32_t> plain = expected_.ids("ragged.generated.1");
  const int32_t stop = plain[5];
  const auto first = size_t(std::find(plain.begin(), plain.end(), stop) - plain.begin());
  const auto completions = run(nullptr, {.max_new = 32, .stop_ids = {stop}});
  EXPECT_EQ(completions[1].finish, Finish::kStop);
  EXPECT_EQ(completions[1].ids, (std::vector<int32_t>(plain.begin(), plain.begin() + int64_t(first))));
}

TEST_F(Generate, RowsThatFinishLeaveTheOthersAlone) {
  // Stop tokens that end the rows at different lengths.
  const std::vector<int32_t> stops = {expected_.ids("ragged.generated.0")[2], expected_.ids("ragged.generated.2")[9]};
  const GenerateOptions options{.max_new = 32, .stop_ids = stops};
  for (const std::string where : {"", "last+2"}) {
    const hook::Plan p = plan("last+2");
    const hook::Plan* used = where.empty() ? nullptr : &p;
    const auto together = run(used, options);
    EXPECT_EQ(ids_of(together), alone(model_, used, prompts_, options));
    if (used == nullptr) {
      std::set<size_t> lengths;
      for (const Completion& c : together) lengths.insert(c.ids.size());
      EXPECT_GT(lengths.size(), 1U) << "the rows must finish apart";
    }
  }
}

TEST_F(Generate, TellsOfEveryRowOnceAndKeepsTheOrder) {
  std::map<size_t, std::vector<int32_t>> told;
  PlainNextToken next(model_, nullptr);
  const auto completions = generate(next, prompts_, {.max_new = 4, .batch = 2},
                                    [&](size_t i, const Completion& c) { EXPECT_TRUE(told.emplace(i, c.ids).second); });
  ASSERT_EQ(told.size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(told[i], completions[i].ids);
}

TEST_F(Generate, SamplesDependOnSeedAndRowAlone) {
  GenerateOptions options{.max_new = 16, .sampling = {.temperature = 1}, .seed = 4};
  const auto together = ids_of(run(nullptr, options));
  EXPECT_EQ(ids_of(run(nullptr, options)), together);
  EXPECT_EQ(alone(model_, nullptr, prompts_, options), together);
  options.batch = 2;
  EXPECT_EQ(ids_of(run(nullptr, options)), together);
  options.seed = 5;
  EXPECT_NE(ids_of(run(nullptr, options)), together);
  // Two rows with one prompt draw from streams of their own.
  PlainNextToken next(model_, nullptr);
  const auto twins = generate(next, {prompts_[0], prompts_[0]}, options);
  EXPECT_NE(twins[0].ids, twins[1].ids);
}

TEST_F(Generate, SaysWhichRowsAGateClosed) {
  hook::Plan p = plan("all");
  p.gate = hook::Gate{{hook::Site::kResidOut, 0}, p.interventions[0].vector_D, 0, 1e9, "g"};
  const auto closed = run(&p, {.max_new = 8});
  for (const Completion& c : closed) EXPECT_FALSE(c.gate_open);
  EXPECT_EQ(ids_of(closed), ids_of(run(nullptr, {.max_new = 8})));
  p.gate->threshold = -1e9;
  const auto open = run(&p, {.max_new = 8});
  for (const Completion& c : open) EXPECT_TRUE(c.gate_open);
  const hook::Plan from_last = plan("last");  // behind a gate, "all" means from the last prompt token on
  EXPECT_EQ(ids_of(open), ids_of(run(&from_last, {.max_new = 8})));
}

class GuidedGenerate : public Generate {
 protected:
  std::vector<std::vector<int32_t>> guided(const model::Transformer& other, double power) const {
    GuidedNextToken next(std::make_unique<PlainNextToken>(model_, nullptr),
                         std::make_unique<PlainNextToken>(other, nullptr, true),
                         [power](const at::Tensor& p, const at::Tensor& u) {
                           return at::log_softmax(p + power * (p - u).clamp_max(0), -1);
                         });
    return ids_of(generate(next, prompts_, {.max_new = 16}));
  }
  std::vector<std::vector<int32_t>> plain() const { return ids_of(run(nullptr, {.max_new = 16})); }
  // The same model, edited: near enough to like the model's own choices better now and then, so that they are vetoed.
  GuidedGenerate() { other_.down_OI(1).mul_(1.5); }
  model::Transformer other_ = fixtures::load("llama-gqa");
};

TEST_F(GuidedGenerate, WithoutWeightOrWithItselfTheTextIsPlain) {
  EXPECT_EQ(guided(other_, 0), plain());
  EXPECT_EQ(guided(model_, 9), plain());
}

TEST_F(GuidedGenerate, TheTextIsWhatTwoForwardPassesWithoutCacheChoose) {
  const at::NoGradGuard no_grad;
  const auto texts = guided(other_, 9);
  EXPECT_NE(texts, plain());
  for (size_t b = 0; b < 3; ++b) {
    std::vector<int32_t> whole = prompts_[b].ids;
    whole.insert(whole.end(), texts[b].begin(), texts[b].end());
    const at::Tensor p = at::log_softmax(model_.logits(model::pad_left({whole}), nullptr, nullptr)[0], -1);
    const at::Tensor u = at::log_softmax(other_.logits(model::pad_left({whole}), nullptr, nullptr)[0], -1);
    const at::Tensor choice = (p + 9 * (p - u).clamp_max(0)).argmax(-1);
    for (size_t i = 0; i < texts[b].size(); ++i)
      EXPECT_EQ(choice[int64_t(prompts_[b].ids.size() + i) - 1].item<int64_t>(), texts[b][i])
          << "row " << b << " token " << i;
  }
}

}  // namespace
}  // namespace suture::decode
