// SPDX-License-Identifier: Apache-2.0
// Every number of an edit against an fp64 run from the formulas (tests/oracle/rome_reference.py).
#include "methods/rome.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <gtest/gtest.h>

#include "decode/score.h"
#include "model/delta.h"
#include "support/fixtures.h"

namespace suture::methods {
namespace {

using fixtures::Expected;
using fixtures::max_difference;

constexpr double kRidge = 1e-4;  // what the reference run added, as a share of the mean diagonal

struct Case {
  std::string model, name;
};

class RomeCase : public ::testing::TestWithParam<Case> {
 protected:
  RomeCase()
      : expected_("rome-" + GetParam().model),
        facts_(expected_.json["cases"][GetParam().name]),
        model_(fixtures::load(GetParam().model)) {}

  at::Tensor get(const std::string& tensor) const { return expected_.get(GetParam().name + "." + tensor); }
  // The reference's own fp32 run ended this far from its fp64 run. Another order of the same sums errs by as much
  // again, so a few times that plus a few fp32 steps at values near 1 is the room for arithmetic and for nothing else.
  double room(const std::string& tensor) const {
    return 5 * facts_["fp32_max_abs_difference"][tensor].get<double>() + 5e-6;
  }

  steps::ValueProblem problem() const {
    const Json& input = facts_["input"];
    steps::ValueProblem problem;
    problem.target = input["target"].get<std::vector<int32_t>>();
    for (const Json& context : input["contexts"]) {
      steps::ValueRow row{context["ids"].get<std::vector<int32_t>>(), context["subject_last"].get<int64_t>()};
      row.ids.insert(row.ids.end(), problem.target.begin(), problem.target.end() - 1);
      problem.contexts.push_back(std::move(row));
    }
    problem.essence = {input["kl"]["ids"].get<std::vector<int32_t>>(), input["kl"]["subject_last"].get<int64_t>()};
    return problem;
  }

  RomeOptions options(KeySource source) const {
    const Json& hyper = facts_["hyper"];
    RomeOptions options;
    options.key_source = source;
    options.value = {.layer = hyper["layer"].get<int64_t>(),
                     .steps = hyper["steps"].get<int64_t>(),
                     .learning_rate = hyper["learning_rate"].get<double>(),
                     .weight_decay = hyper["weight_decay"].get<double>(),
                     .clamp = hyper["clamp_factor"].get<double>(),
                     .kl_factor = hyper["kl_factor"].get<double>(),
                     .loss_stop = hyper["stop_below"].get<double>()};
    return options;
  }

  RomeEdit edit(KeySource source) const {
    const tensor::SpdSolver moment(expected_.get("base.C"), kRidge);  // the same texts in every case
    return rome(model_, problem(), &moment, options(source));
  }

  double target_log_prob(const model::Transformer& model) const {
    decode::ScoreText text{facts_["input"]["contexts"][0]["ids"].get<std::vector<int32_t>>(), 0};
    text.context = int64_t(text.ids.size());
    for (const Json& id : facts_["input"]["target"]) text.ids.push_back(id.get<int32_t>());
    return -decode::score(model, text, nullptr).nll;
  }

  void expect_after(KeySource source, const std::string& fact) const {
    const RomeEdit made = edit(source);
    const model::WeightId down{model::Part::kDown, options(source).value.layer};
    const double before = target_log_prob(model_);
    // Three log-probabilities of size 10 in fp32, summed.
    EXPECT_NEAR(before, facts_["target_log_prob_before"].get<double>(), 1e-4);
    model::add_to(model_, {{down, made.left_O.unsqueeze(1), made.right_I.unsqueeze(1)}});
    // The change of the weight is off by room(); the logits answer to it about a hundredfold (F numbers of size 1 a
    // row).
    EXPECT_NEAR(target_log_prob(model_), facts_[fact].get<double>(),
                1e-4 + 100 * room(fact.ends_with("r_rome") ? "W_r_rome" : "W_rome"));
    EXPECT_GT(target_log_prob(model_), before);
  }

  Expected expected_;
  Json facts_;
  model::Transformer model_;
};

TEST_P(RomeCase, FindsTheReferencesKeyAndValue) {
  const RomeEdit made = edit(KeySource::kAveraged);
  EXPECT_LT(max_difference(made.value.keys_NF.mean(0), get("k_star")), room("k_star"));
  EXPECT_LT(max_difference(made.value.before_D, get("v0")), room("v0"));
  EXPECT_LT(max_difference(made.value.delta_D, get("delta")), room("delta"));
  EXPECT_LT(max_difference(made.value.before_D + made.value.delta_D, get("v_star")), room("v_star"));
  if (expected_.has(GetParam().name + ".context_keys")) {
    EXPECT_LT(max_difference(made.value.keys_NF, get("context_keys")), room("context_keys"));
  }
}

TEST_P(RomeCase, TakesTheReferencesSteps) {
  const RomeEdit made = edit(KeySource::kAveraged);
  const at::Tensor trace = get("trace");  // loss, NLL, factor times KL, decay, norm of delta
  ASSERT_EQ(int64_t(made.value.loss.size()), facts_["evaluations"].get<int64_t>());
  ASSERT_EQ(trace.size(0), int64_t(made.value.loss.size()));
  const double factor = options(KeySource::kAveraged).value.kl_factor;
  for (int64_t i = 0; i < trace.size(0); ++i) {
    const auto at = [&](int64_t column) { return trace[i][column].item<double>(); };
    EXPECT_NEAR(made.value.loss[size_t(i)], at(0), room("trace")) << "evaluation " << i;
    EXPECT_NEAR(made.value.nll[size_t(i)], at(1), room("trace")) << "evaluation " << i;
    EXPECT_NEAR(factor * made.value.kl[size_t(i)], at(2), room("trace")) << "evaluation " << i;
  }
  EXPECT_NEAR(made.value.delta_D.norm().item<double>(), trace[-1][4].item<double>(), room("delta") * 10);
}

TEST_P(RomeCase, FindsTheReferencesFactors) {
  const RomeEdit averaged = edit(KeySource::kAveraged), bare = edit(KeySource::kBarePrompt);
  EXPECT_LT(max_difference(averaged.right_I, get("u")), room("u"));
  EXPECT_LT(max_difference(bare.right_I, get("u")), room("u"));
  EXPECT_LT(max_difference(averaged.left_O, get("lambda_r_rome")), room("lambda_r_rome"));
  EXPECT_LT(max_difference(bare.left_O, get("lambda_rome")), room("lambda_rome"));
  EXPECT_NEAR(averaged.right_I.norm().item<double>(), 1, 1e-6);  // fp32
}

// W' k* + b = v*: the point of the rank-one change.
TEST_P(RomeCase, TheChangedWeightMapsTheKeyToTheValue) {
  for (const KeySource source : {KeySource::kAveraged, KeySource::kBarePrompt}) {
    const RomeEdit made = edit(source);
    const at::Tensor key = source == KeySource::kAveraged ? made.value.keys_NF.mean(0) : made.value.keys_NF[0];
    const at::Tensor W = model_.down_OI(options(source).value.layer).to(at::kDouble);
    // v0 = W k_p + b gives the bias without asking the model for it.
    const at::Tensor bias = made.value.before_D.to(at::kDouble) - at::matmul(W, made.value.keys_NF[0].to(at::kDouble));
    const at::Tensor changed = W + at::outer(made.left_O.to(at::kDouble), made.right_I.to(at::kDouble));
    // Values of size 1 to 10 from fp32 factors.
    EXPECT_LT(max_difference(at::matmul(changed, key.to(at::kDouble)) + bias, made.value.before_D + made.value.delta_D),
              2e-5);
  }
}

TEST_P(RomeCase, AveragedKeyEditMovesTheTargetAsTheReferencesDoes) {
  expect_after(KeySource::kAveraged, "target_log_prob_after_r_rome");
}
TEST_P(RomeCase, BarePromptEditMovesTheTargetAsTheReferencesDoes) {
  expect_after(KeySource::kBarePrompt, "target_log_prob_after_rome");
}

TEST_P(RomeCase, StaysWithinTheNormBound) {
  const RomeEdit made = edit(KeySource::kAveraged);
  const double bound = options(KeySource::kAveraged).value.clamp * made.value.before_D.norm().item<double>();
  EXPECT_LE(made.value.delta_D.norm().item<double>(), bound * (1 + 1e-6));  // fp32 rescaling
  if (GetParam().name == "clamped") {
    EXPECT_GT(made.value.delta_D.norm().item<double>(), bound * 0.9);
  }
}

INSTANTIATE_TEST_SUITE_P(References, RomeCase,
                         ::testing::Values(Case{"llama-gqa", "base"}, Case{"llama-gqa", "clamped"},
                                           Case{"llama-gqa", "early"}, Case{"gpt2", "base"}, Case{"gpt2", "clamped"},
                                           Case{"gpt2", "early"}),
                         [](const auto& row) {
                           return (row.param.model == "gpt2" ? "gpt2_" : "llama_") + row.param.name;
                         });

class RomeAlone : public ::testing::Test {
 protected:
  model::Transformer model_ = fixtures::load("llama-gqa");
  steps::ValueProblem problem_{{{{56, 21, 40, 50}, 1}, {{9, 8, 56, 21, 40, 50}, 3}}, {17}, {{40, 50, 23}, 1}};
};

TEST_F(RomeAlone, WithoutAMomentTheDirectionIsTheKeys) {
  const RomeEdit made = rome(model_, problem_, nullptr, {.value = {.layer = 1, .steps = 3}});
  const at::Tensor k = made.value.keys_NF.to(at::kDouble).mean(0);
  EXPECT_LT(max_difference(made.right_I, k / k.norm()), 1e-7);  // one rounding to fp32 of numbers below 1
  EXPECT_TRUE(made.record["condition"].is_null());
}

TEST_F(RomeAlone, LeavesTheModelAsItWas) {
  const at::Tensor before = model_.down_OI(1).clone();
  rome(model_, problem_, nullptr, {.value = {.layer = 1, .steps = 3}});
  EXPECT_TRUE(model_.down_OI(1).equal(before));
}

TEST_F(RomeAlone, RecordSaysWhatWasDone) {
  const RomeEdit made =
      rome(model_, problem_, nullptr, {.value = {.layer = 1, .steps = 3}, .key_source = KeySource::kBarePrompt});
  EXPECT_EQ(made.record["layer"], 1);
  EXPECT_EQ(made.record["key_source"], "bare_prompt");
  EXPECT_EQ(made.record["evaluations"], 3);
  EXPECT_EQ(made.record["contexts"], 2);
  const double change = at::outer(made.left_O, made.right_I).norm().item<double>();
  EXPECT_NEAR(made.record["change_norm"].get<double>(), change, 1e-5 * change);  // fp32 norms
  EXPECT_NEAR(made.record["relative_change"].get<double>(), change / model_.down_OI(1).norm().item<double>(), 1e-5);
}

TEST_F(RomeAlone, RefusesASubjectBehindThePrompt) {
  problem_.contexts[0].subject = 4;
  EXPECT_THROW(rome(model_, problem_, nullptr, {.value = {.layer = 1, .steps = 3}}), Error);
}

}  // namespace
}  // namespace suture::methods
