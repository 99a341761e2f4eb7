// SPDX-License-Identifier: Apache-2.0
#include "hook/plan.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "support/errors.h"

namespace suture::hook {
namespace {

using test::error_of;

at::Tensor vec(std::vector<float> x) { return at::tensor(x, at::kFloat); }

// Two rows of one call: the first has two padding columns, a prompt of 3 and one generated token; the second has no
// padding, a prompt of 4 and two generated tokens.
Tokens ragged() { return {at::tensor({-1, -1, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5}, at::kLong).view({2, 6}), {3, 4}}; }

std::string drawn(const at::Tensor& mask_BT) {
  std::string text;
  for (int64_t b = 0; b < mask_BT.size(0); ++b) {
    if (b > 0) text += ' ';
    for (int64_t t = 0; t < mask_BT.size(1); ++t) text += mask_BT[b][t].item<bool>() ? '1' : '.';
  }
  return text;
}

TEST(Where, MasksEveryKindAndNeverPadding) {
  const auto mask = [](const std::string& text) { return drawn(Where::parse(text).mask_BT(ragged())); };
  EXPECT_EQ(mask("all"), "..1111 111111");
  EXPECT_EQ(mask("prompt"), "..111. 1111..");
  EXPECT_EQ(mask("generated"), ".....1 ....11");
  EXPECT_EQ(mask("last"), "....11 ...111");
  EXPECT_EQ(mask("last+0"), "....1. ...1..");
  EXPECT_EQ(mask("last+1"), "....11 ...11.");
  EXPECT_EQ(mask("step 0"), "....1. ...1..");
  EXPECT_EQ(mask("step 1"), ".....1 ....1.");
  EXPECT_EQ(mask("index 1"), "...1.. .1....");
  EXPECT_EQ(mask("index 0,4"), "..1... ....1.");  // one a row
  EXPECT_EQ(mask("index 9"), "...... ......");
}

TEST(Where, TextReadsBack) {
  for (const std::string text : {"all", "last", "last+4", "step 2", "prompt", "generated", "index 3", "index 3,0,12"})
    EXPECT_EQ(Where::parse(text).text(), text);
  EXPECT_EQ(Where::parse("last+4"), (Where{Where::Kind::kLastFirst, 4, {}}));
  EXPECT_EQ(Where::parse("index 3,5"), (Where{Where::Kind::kIndex, 0, {3, 5}}));
}

TEST(Where, RefusesOtherTextsAndSaysWhatItTakes) {
  for (const std::string text : {"", "first", "last+", "last+x", "last+-1", "last-1", "step", "step x", "index",
                                 "index ", "index a", "index -1", "index 1.5", "ALL"}) {
    const Error error = error_of([&] { Where::parse(text); });
    EXPECT_EQ(error.code(), Code::kConfig) << "'" << text << "'";
  }
  EXPECT_STREQ(error_of([] { Where::parse("first"); }).what(),
               "cannot read tokens 'first': use all, last, last+N, step N, prompt, generated or index N[,N...]");
  EXPECT_STREQ(error_of([] { Where::parse("last+x"); }).what(), "cannot read tokens 'last+x': 'x' is not a count");
}

TEST(Names, ReadBack) {
  for (const Site site :
       {Site::kEmbed, Site::kHeadOut, Site::kAttnOut, Site::kMlpKey, Site::kMlpOut, Site::kResidOut, Site::kFinalNorm})
    EXPECT_EQ(site_from(name(site)), site);
  for (const Action action : {Action::kAdd, Action::kSet, Action::kProjectOut, Action::kToNorm})
    EXPECT_EQ(action_from(name(action)), action);
  EXPECT_FALSE(site_from("resid"));
  EXPECT_FALSE(action_from("subtract"));
  EXPECT_EQ(site_names(), "embed, head_out, attn_out, mlp_key, mlp_out, resid_out, final_norm");
}

constexpr Point kHere{Site::kResidOut, 1};

Intervention at_here(Action action, double scale, at::Tensor vector, const std::string& where = "all") {
  return {kHere, Where::parse(where), action, scale, std::move(vector), "store.h5:v"};
}

Tokens one_row(int64_t width) { return {at::arange(width, at::kLong).unsqueeze(0), {width}}; }

at::Tensor apply(const Plan& plan, const at::Tensor& x, const Tokens& tokens) {
  PlanRun run(plan);
  return run.apply(kHere, x, tokens);
}

TEST(PlanRun, ActsAsWritten) {
  const at::Tensor x = vec({3, 4, 0, 2}).view({1, 2, 2});
  const auto after = [&](Action action, double scale, std::vector<float> v) {
    return apply({{at_here(action, scale, vec(v))}, {}}, x, one_row(2)).flatten();
  };
  // Numbers are small integers and halves, so fp32 is exact; a norm or a quotient rounds once or twice.
  EXPECT_TRUE(after(Action::kAdd, 0.5, {2, -4}).equal(vec({4, 2, 1, 0})));
  EXPECT_TRUE(after(Action::kSet, 2, {1, 3}).equal(vec({2, 6, 2, 6})));
  EXPECT_TRUE(after(Action::kProjectOut, 1, {0, 2}).allclose(vec({3, 0, 0, 0}), 0, 1e-6));
  EXPECT_TRUE(after(Action::kProjectOut, 0.5, {0, 2}).allclose(vec({3, 2, 0, 1}), 0, 1e-6));
  EXPECT_TRUE(after(Action::kToNorm, 2, {3, 4}).allclose(vec({6, 8, 0, 10}), 1e-6, 0));  // lengths 10
}

TEST(PlanRun, TouchesOnlyTheTokensNamed) {
  const at::Tensor x = at::ones({2, 6, 2});
  const Plan plan{{at_here(Action::kAdd, 1, vec({1, 2}), "last+1")}, {}};
  PlanRun run(plan);
  const at::Tensor y = run.apply(kHere, x, ragged());
  EXPECT_EQ(drawn(y.select(2, 0) != 1), "....11 ...11.");
  EXPECT_EQ(run.applied(), 4);
}

TEST(PlanRun, ScaleZeroLeavesEveryBit) {
  const at::Tensor x = at::full({1, 3, 2}, 0.1F).to(at::kBFloat16);
  for (const Action action : {Action::kAdd, Action::kProjectOut}) {
    const Plan plan{{at_here(action, 0, vec({1, 2}))}, {}};
    PlanRun run(plan);
    EXPECT_FALSE(run.wants(kHere));  // not even asked
    EXPECT_TRUE(run.apply(kHere, x, one_row(3)).is_same(x));
    EXPECT_EQ(run.applied(), 0);
  }
  // Setting to nought is an action.
  EXPECT_EQ(apply({{at_here(Action::kSet, 0, vec({1, 2}))}, {}}, x, one_row(3)).abs().max().item<float>(), 0);
}

TEST(PlanRun, KeepsTheDtypeOfTheActivation) {
  const at::Tensor x = at::ones({1, 3, 2}).to(at::kBFloat16);
  EXPECT_EQ(apply({{at_here(Action::kAdd, 1, vec({1, 2}))}, {}}, x, one_row(3)).scalar_type(), at::kBFloat16);
}

TEST(PlanRun, OrderMatters) {
  const at::Tensor x = at::ones({1, 1, 2});
  const Intervention add = at_here(Action::kAdd, 1, vec({1, 2})), set = at_here(Action::kSet, 1, vec({5, 5}));
  EXPECT_TRUE(apply({{add, set}, {}}, x, one_row(1)).flatten().equal(vec({5, 5})));
  EXPECT_TRUE(apply({{set, add}, {}}, x, one_row(1)).flatten().equal(vec({6, 7})));
}

TEST(PlanRun, WantsItsOwnPointsOnly) {
  const Plan plan{{at_here(Action::kAdd, 1, vec({1, 2}))}, Gate{{Site::kAttnOut, 0}, vec({1, 0}), 0, 0, "g"}};
  const PlanRun run(plan);
  EXPECT_TRUE(run.wants(kHere));
  EXPECT_TRUE(run.wants({Site::kAttnOut, 0}));
  EXPECT_FALSE(run.wants({Site::kResidOut, 0}));
  EXPECT_FALSE(run.wants({Site::kMlpOut, 1}));
}

// Rows whose last prompt tokens score +1 and -1 behind a gate at 0.
class Gated : public ::testing::Test {
 protected:
  Plan plan_{{at_here(Action::kAdd, 1, vec({10, 10}))}, Gate{{Site::kResidOut, 0}, vec({1, 0}), 0.5, 0, "gate"}};
  PlanRun run_{plan_};
  at::Tensor seen() const {  // at the gate; only position 2 of row 0 and position 3 of row 1 may be read
    at::Tensor x = at::full({2, 6, 2}, 99.F);
    x[0][4] = vec({0.5, 7});
    x[1][3] = vec({-1.5, 7});
    return x;
  }
};

TEST_F(Gated, DecidesARowFromItsLastPromptToken) {
  const at::Tensor x = seen();
  EXPECT_TRUE(run_.apply({Site::kResidOut, 0}, x, ragged()).equal(x));
  EXPECT_EQ(run_.gate_scores(), (std::vector<double>{1, -1}));
  EXPECT_EQ(run_.open(), (std::vector<char>{1, 0}));
  // Open: from the last prompt token on, though the plan says all. Closed: nothing.
  EXPECT_EQ(drawn(run_.apply(kHere, at::ones({2, 6, 2}), ragged()).select(2, 0) != 1), "....11 ......");
}

TEST_F(Gated, AClosedRowKeepsEveryBit) {
  run_.apply({Site::kResidOut, 0}, seen(), ragged());
  const at::Tensor x = at::full({2, 6, 2}, 0.1F);
  EXPECT_TRUE(run_.apply(kHere, x, ragged())[1].equal(x[1]));
}

TEST_F(Gated, AScoreAtTheThresholdStaysClosed) {
  plan_.gate->threshold = 1;
  PlanRun run(plan_);
  run.apply({Site::kResidOut, 0}, seen(), ragged());
  EXPECT_EQ(run.open(), (std::vector<char>{0, 0}));
}

TEST_F(Gated, DecisionsGoWithTheRowsThatStay) {
  run_.apply({Site::kResidOut, 0}, seen(), ragged());
  run_.keep_rows({1});
  EXPECT_EQ(run_.open(), std::vector<char>{0});
  EXPECT_EQ(run_.gate_scores(), std::vector<double>{-1});
  const Tokens next{at::full({1, 1}, 6, at::kLong), {4}};
  run_.apply({Site::kResidOut, 0}, at::full({1, 1, 2}, 99.F), next);  // a generated token decides nothing
  EXPECT_EQ(run_.open(), std::vector<char>{0});
  const at::Tensor x = at::ones({1, 1, 2});
  EXPECT_TRUE(run_.apply(kHere, x, next).equal(x));
}

// Token numbers are given a row; they stay with their rows when others leave.
TEST(PlanRun, TokenNumbersGoWithTheRowsThatStay) {
  const Plan plan{{at_here(Action::kAdd, 1, vec({1, 1}), "index 9,6")}, {}};
  PlanRun run(plan);
  run.apply(kHere, at::ones({2, 6, 2}), ragged());
  run.keep_rows({1});
  const Tokens next{at::full({1, 1}, 6, at::kLong), {4}};
  EXPECT_EQ(run.apply(kHere, at::ones({1, 1, 2}), next).flatten()[0].item<float>(), 2);
}

TEST(Where, RefusesTokenNumbersForOtherThanEveryText) {
  const Error error = error_of([] { Where::parse("index 1,2,3").mask_BT(ragged()); });
  EXPECT_EQ(error.code(), Code::kConfig);
  EXPECT_STREQ(error.what(), "cannot act on tokens 'index 1,2,3': 3 numbers for 2 texts; give one, or one a text");
}

TEST(PlanDigest, ChangesWithEverythingThatMatters) {
  const Plan plan{{at_here(Action::kAdd, 1.5, vec({1, 2}), "last")}, {}};
  const auto changed = [&](auto&& change) {
    Plan other{{at_here(Action::kAdd, 1.5, vec({1, 2}), "last")}, {}};
    EXPECT_EQ(other.digest(), plan.digest());
    EXPECT_EQ(other.interventions[0], plan.interventions[0]);
    change(other);
    return other.digest() != plan.digest();
  };
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].vector_D = vec({2, 1}); }));  // same norm, same label
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].scale = 1.25; }));
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].action = Action::kSet; }));
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].where = Where::parse("all"); }));
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].at.layer = 2; }));
  EXPECT_TRUE(changed([](Plan& p) { p.interventions[0].at.site = Site::kMlpOut; }));
  EXPECT_TRUE(changed([](Plan& p) { p.interventions.push_back(p.interventions[0]); }));
  EXPECT_TRUE(changed([](Plan& p) { p.gate = Gate{{Site::kResidOut, 0}, vec({1, 0}), 0, 0, "g"}; }));
}

TEST(PlanDigest, ChangesWithTheGate) {
  const auto digest = [](at::Tensor weight, double bias, double threshold) {
    return Plan{{}, Gate{{Site::kResidOut, 0}, std::move(weight), bias, threshold, "g"}}.digest();
  };
  EXPECT_NE(digest(vec({1, 0}), 0, 0), digest(vec({0, 1}), 0, 0));
  EXPECT_NE(digest(vec({1, 0}), 0, 0), digest(vec({1, 0}), 0.5, 0));
  EXPECT_NE(digest(vec({1, 0}), 0, 0), digest(vec({1, 0}), 0, 0.5));
}

TEST(Plan, TextSaysWhatItDoes) {
  const Plan plan{{at_here(Action::kAdd, 0.5, vec({3, 4}), "last+2")},
                  Gate{{Site::kResidOut, 0}, vec({1, 0}), 0, 0.25, "g"}};
  EXPECT_EQ(plan.text(),
            "gate resid_out 0: acts on a row when its last prompt token scores above 0.25\n"
            "add 0.5 x store.h5:v (norm 5) at resid_out 1, tokens last+2\n");
  EXPECT_FALSE(plan.empty());
  EXPECT_TRUE(Plan{}.empty());
}

class PlanCheck : public ::testing::Test {
 protected:
  Error error() const {
    return error_of([&] { plan_.check(3, [](Site site) { return site == Site::kMlpKey ? int64_t(5) : int64_t(2); }); });
  }
  Plan plan_{{at_here(Action::kAdd, 1, vec({1, 2}))}, {}};
};

TEST_F(PlanCheck, AcceptsWhatFits) {
  EXPECT_EQ(error().code(), Code::kDone);
  plan_.interventions[0].at = {Site::kFinalNorm, 0};
  plan_.gate = Gate{{Site::kResidOut, 2}, vec({1, 0}), 0, 0, "g"};
  EXPECT_EQ(error().code(), Code::kDone);
}

TEST_F(PlanCheck, NamesALayerThatIsNotThere) {
  plan_.interventions[0].at.layer = 3;
  EXPECT_EQ(error().code(), Code::kModel);
  EXPECT_STREQ(error().what(), "cannot put 'store.h5:v' at resid_out 3: model has layers 0..2");
  plan_.interventions[0].at.layer = -1;
  EXPECT_EQ(error().code(), Code::kModel);
}

TEST_F(PlanCheck, NamesAVectorOfAnotherWidth) {
  plan_.interventions[0].at.site = Site::kMlpKey;
  EXPECT_EQ(error().code(), Code::kModel);
  EXPECT_STREQ(error().what(), "cannot put 'store.h5:v' at mlp_key 1: vector has 2 numbers, the site is 5 wide");
}

TEST_F(PlanCheck, NamesAGateOfAnotherWidth) {
  plan_.gate = Gate{{Site::kResidOut, 0}, vec({1, 0, 0}), 0, 0, "g"};
  EXPECT_STREQ(error().what(), "cannot put a gate at resid_out 0: vector has 3 numbers, the site is 2 wide");
}

TEST_F(PlanCheck, NamesAGateThatComesTooLate) {
  plan_.gate = Gate{{Site::kResidOut, 1}, vec({1, 0}), 0, 0, "g"};
  EXPECT_EQ(error().code(), Code::kModel);
  EXPECT_STREQ(error().what(),
               "cannot gate 'store.h5:v' at layer 1: the gate reads layer 1 and can only decide about later layers");
}

TEST_F(PlanCheck, NamesPromptTokensBehindAGate) {
  plan_.interventions[0].where = Where::parse("prompt");
  plan_.gate = Gate{{Site::kResidOut, 0}, vec({1, 0}), 0, 0, "g"};
  EXPECT_STREQ(error().what(),
               "cannot gate 'store.h5:v': the gate is read at the last prompt token, after the prompt was processed");
}

}  // namespace
}  // namespace suture::hook
