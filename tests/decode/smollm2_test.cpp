// SPDX-License-Identifier: Apache-2.0
// A real model read from its GGUF file, against what transformers computes with the same dequantised weights
// (tests/oracle/make_smollm2_expected.py). The fp32 arithmetic differs in the order of its sums only.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/logsumexp.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/digest.h"
#include "decode/language_model.h"
#include "decode/score.h"
#include "support/fixtures.h"

namespace suture::decode {
namespace {

// Logits reach 25, where fp32 numbers lie 2e-6 apart. Thirty blocks of differently ordered sums moved them by 4e-5 at
// most; the expected ones are rounded to 1e-5.
constexpr double kLogitTolerance = 1e-4;

fs::path model_path() {
  if (const char* path = std::getenv("SUTURE_DEMO_MODEL")) return path;
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "" : home) / ".cache/suture/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

class SmolLM2 : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    at::set_num_threads(1);  // waiting OpenMP threads spin: on a busy machine two were 20 times slower than one
    expected = new Json(read_json(fixtures::root() / "expected/smollm2.json"));
    if (fs::exists(model_path())) model = new LanguageModel(LanguageModel::load(model_path(), {at::kFloat, at::kCPU}));
  }
  static void TearDownTestSuite() {
    delete model;
    delete expected;
    model = nullptr;
    expected = nullptr;
  }
  void SetUp() override {
    ASSERT_NE(model, nullptr) << model_path()
                              << " is absent: run the tests through 'make test', which fetches the model";
  }

  static inline const LanguageModel* model = nullptr;
  static inline const Json* expected = nullptr;
};

at::Tensor logits_TV(const LanguageModel& model, const std::vector<int32_t>& ids) {
  const at::NoGradGuard no_grad;
  return model.transformer.logits(model::pad_left({ids}), nullptr, nullptr)[0];
}

TEST_F(SmolLM2, WeightsAreDequantisedBitForBit) {
  for (const auto& [name, digest] : (*expected)["weights_sha256"].items()) {
    const at::Tensor weight = model->checkpoint.tensor(name).to(at::kFloat).contiguous();
    const std::span<const float> numbers(weight.const_data_ptr<float>(), size_t(weight.numel()));
    EXPECT_EQ(sha256(std::as_bytes(numbers)), digest.get<std::string>()) << name;
  }
}

TEST_F(SmolLM2, TextsGiveTheSameTokens) {
  for (const auto& [name, text] : (*expected)["texts"].items())
    EXPECT_EQ(model->words().encode(text["text"].get<std::string>()).ids, text["ids"].get<std::vector<int32_t>>())
        << name;
  for (const Json& each : (*expected)["tokenised"])
    EXPECT_EQ(model->words().encode(each["text"].get<std::string>()).ids, each["ids"].get<std::vector<int32_t>>())
        << each["text"];
}

TEST_F(SmolLM2, TemplateGivesTheSameText) {
  const text::SpecialTokens& special = model->checkpoint.text().special;
  for (const Json& each : (*expected)["templates"]) {
    std::vector<text::Message> messages;
    for (const Json& m : each["messages"])
      messages.push_back({m["role"].get<std::string>(), m["content"].get<std::string>()});
    const bool open = each["add_generation_prompt"].get<bool>();
    EXPECT_EQ(model->chat_template->render(
                  messages, {.add_generation_prompt = open, .bos_token = special.bos, .eos_token = special.eos}),
              each["text"].get<std::string>());
    if (open) {
      EXPECT_EQ(model->render(messages), each["text"].get<std::string>());
    }
  }
}

TEST_F(SmolLM2, LogitsEqualTransformers) {
  const auto fixed = (*expected)["fixed_ids"].get<std::vector<int64_t>>();
  for (const auto& [name, text] : (*expected)["texts"].items()) {
    SCOPED_TRACE(name);
    const at::Tensor logits = logits_TV(*model, text["ids"].get<std::vector<int32_t>>());
    double worst = 0;
    for (int64_t t = 0; t < logits.size(0); ++t) {
      const auto row = size_t(t);
      const float* got = logits[t].const_data_ptr<float>();
      for (size_t k = 0; k < text["top_ids"][row].size(); ++k)
        worst = std::max(
            worst, std::abs(got[text["top_ids"][row][k].get<int64_t>()] - text["top_logits"][row][k].get<double>()));
      for (size_t k = 0; k < fixed.size(); ++k)
        worst = std::max(worst, std::abs(got[fixed[k]] - text["fixed_logits"][row][k].get<double>()));
      const double lse = at::logsumexp(logits[t].to(at::kDouble), 0).item<double>();
      worst = std::max(worst, std::abs(lse - text["logsumexp"][row].get<double>()));
    }
    RecordProperty(name, std::to_string(worst));
    EXPECT_LT(worst, kLogitTolerance);
  }
}

TEST_F(SmolLM2, ScoresEqualTransformers) {
  for (const auto& [name, text] : (*expected)["texts"].items()) {
    SCOPED_TRACE(name);
    const auto log_probs = text["log_probabilities"].get<std::vector<double>>();
    const TextScore score = decode::score(model->transformer, {text["ids"].get<std::vector<int32_t>>()}, nullptr);
    ASSERT_EQ(score.tokens.size(), log_probs.size() + 1);
    ASSERT_EQ(score.counted, int64_t(log_probs.size()));
    EXPECT_TRUE(std::isnan(score.tokens[0].log_prob));
    for (size_t t = 0; t < log_probs.size(); ++t)
      EXPECT_NEAR(score.tokens[t + 1].log_prob, log_probs[t], kLogitTolerance) << "token " << t + 1;
    EXPECT_NEAR(score.nll / double(score.counted), text["mean_nll"].get<double>(), kLogitTolerance);
  }
}

// All texts in one ragged batch. Each of the expected choices leads its runner-up by at least 0.017 (smallest_margin),
// far more than the logits' tolerance, so the ids must be equal.
TEST_F(SmolLM2, GreedyCompletionsEqualTransformers) {
  std::vector<Prompt> prompts;
  std::vector<std::vector<int32_t>> want;
  for (const auto& [name, text] : (*expected)["texts"].items()) {
    ASSERT_GT(text["smallest_margin"].get<double>(), 20 * kLogitTolerance) << name;
    prompts.push_back({text["ids"].get<std::vector<int32_t>>(), {}});
    want.push_back(text["generated"].get<std::vector<int32_t>>());
  }
  PlainNextToken next(model->transformer, nullptr);
  const auto completions = generate(next, prompts, {.max_new = 32, .stop_ids = model->stop_ids});
  for (size_t i = 0; i < want.size(); ++i) {
    if (completions[i].finish == Finish::kStop) want[i].pop_back();  // the reference keeps the end token
    EXPECT_EQ(completions[i].ids, want[i]) << "text " << i;
  }
}

}  // namespace
}  // namespace suture::decode
