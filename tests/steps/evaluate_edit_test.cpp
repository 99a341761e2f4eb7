// SPDX-License-Identifier: Apache-2.0
#include "steps/evaluate_edit.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "steps/ngram_entropy.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

class Measure : public ::testing::Test {
 protected:
  // From the definition: one pass over prompt and target.
  Continuation direct(const std::string& prompt, const std::string& target) const {
    const at::NoGradGuard no_grad;
    const auto [context, continuation] = split_ids(model_, prompt, target);
    std::vector<int32_t> ids = context;
    ids.insert(ids.end(), continuation.begin(), continuation.end());
    const at::Tensor log_p =
        at::log_softmax(model_.transformer.logits(model::pad_left({ids}), nullptr, nullptr)[0], -1);
    const at::Tensor first = log_p.argmax(-1);
    Continuation out{0, true, int32_t(first[int64_t(context.size()) - 1].item<int64_t>())};
    double sum = 0;
    for (size_t i = context.size(); i < ids.size(); ++i) {
      sum += log_p[int64_t(i) - 1][ids[i]].item<double>();
      out.top1 = out.top1 && first[int64_t(i) - 1].item<int64_t>() == ids[i];
    }
    out.probability = std::exp(sum / double(continuation.size()));
    return out;
  }
  void expect(const Continuation& measured, const std::string& prompt, const std::string& target) const {
    const Continuation wanted = direct(prompt, target);
    EXPECT_NEAR(measured.probability, wanted.probability, 1e-4 * wanted.probability)
        << prompt << target;  // fp32 log-probabilities of size 10
    EXPECT_EQ(measured.top1, wanted.top1) << prompt << target;
    EXPECT_EQ(measured.first_choice, wanted.first_choice) << prompt << target;
  }
  decode::LanguageModel model_ = decode::LanguageModel::load(fixtures::root() / "models" / "llama-gqa", {});
};

TEST_F(Measure, EveryPromptEqualsItsOwnForwardPass) {
  // Targets of one token and of several take different ways.
  const std::vector<Fact> facts = {
      {"long", "Ann", "The home of {} is", "north", "in the south", {"Ann lives at"}, {"Bob is", "Carl is at"}, {}, 1},
      {"short", "Ann", "The name {} ends", "?", "!", {"This is it"}, {"Who is this", "a"}, {}, 2},
      {"new only", "Bob", "{} is", "a", "", {"b"}, {}, {}, 3}};
  const std::vector<FactState> states = measure_facts(model_, facts, nullptr, 0);
  ASSERT_EQ(states.size(), facts.size());
  for (size_t f = 0; f < facts.size(); ++f) {
    const Fact& fact = facts[f];
    expect(states[f].target_new, fact.text(), fact.target_new);
    if (!fact.target_true.empty()) expect(states[f].target_true, fact.text(), fact.target_true);
    ASSERT_EQ(states[f].paraphrase_new.size(), fact.paraphrases.size());
    ASSERT_EQ(states[f].neighbour_new.size(), fact.neighbours.size());
    for (size_t i = 0; i < fact.paraphrases.size(); ++i)
      expect(states[f].paraphrase_new[i], fact.paraphrases[i], fact.target_new);
    for (size_t i = 0; i < fact.neighbours.size(); ++i) {
      expect(states[f].neighbour_new[i], fact.neighbours[i], fact.target_new);
      expect(states[f].neighbour_true[i], fact.neighbours[i], fact.target_true);
    }
    EXPECT_TRUE(std::isnan(states[f].generation_entropy));
  }
}

TEST_F(Measure, GenerationsAreGreedyAndTheirEntropyIsAveraged) {
  const std::vector<Fact> facts = {{"f", "Ann", "{} is", "a", "", {}, {}, {"Ann is", "The home of Ann"}, 1},
                                   {"g", "Bob", "{} is", "a", "", {}, {}, {}, 2}};
  const std::vector<FactState> states = measure_facts(model_, facts, nullptr, 12);
  ASSERT_EQ(states[0].generated.size(), 2U);
  double sum = 0;
  for (size_t i = 0; i < 2; ++i) {
    decode::PlainNextToken next(model_.transformer, nullptr);
    const auto ids = decode::generate(next, {{model_.encode(facts[0].generation[i]).ids, {}}}, {.max_new = 12})[0].ids;
    EXPECT_EQ(states[0].generated[i], model_.decode(ids));
    sum += ngram_entropy(ids);
  }
  EXPECT_NEAR(states[0].generation_entropy, sum / 2, 1e-12);
  EXPECT_TRUE(states[1].generated.empty());
}

Continuation made(double probability, bool top1, int32_t first) { return {probability, top1, first}; }

TEST(CompareStates, CountsSharesByHand) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Fact> facts = {{"a", "A", "{} x", "n", "t", {"p", "q"}, {"m", "o"}, {}, 1},
                                   {"b", "B", "{} x", "n", "t", {}, {}, {}, 2}};
  const FactState a_before{made(0.1, false, 3),
                           made(0.5, true, 3),
                           {},
                           {},
                           {made(0.1, false, 4), made(0.1, false, 5)},
                           {made(0.5, true, 4), made(0.5, true, 5)},
                           none,
                           {}};
  const FactState a_after{made(0.6, true, 9),
                          made(0.2, false, 9),
                          {made(0.7, true, 9), made(0.3, false, 8)},
                          {made(0.1, false, 9), made(0.4, false, 8)},
                          {made(0.1, false, 4), made(0.6, true, 9)},
                          {made(0.5, true, 4), made(0.3, false, 9)},
                          none,
                          {}};
  const FactState b_before{made(0.1, false, 3), made(0.5, true, 3), {}, {}, {}, {}, none, {}};
  const FactState b_after{made(0.2, false, 3), made(0.4, true, 3), {}, {}, {}, {}, none, {}};
  const Json result = compare_states(facts, {a_before, b_before}, {a_after, b_after});
  EXPECT_EQ(result["efficacy"], (Json{{"share", 0.5}, {"k", 1}, {"n", 2}}));                 // a is top-1, b is not
  EXPECT_EQ(result["paraphrase"], (Json{{"share", 0.5}, {"k", 1}, {"n", 2}}));               // the first of two
  EXPECT_EQ(result["neighbourhood"], (Json{{"share", 0.5}, {"k", 1}, {"n", 2}}));            // 4 stays 4, 5 becomes 9
  EXPECT_EQ(result["probability"]["efficacy"], (Json{{"share", 0.5}, {"k", 1}, {"n", 2}}));  // 0.6 > 0.2, 0.2 < 0.4
  EXPECT_EQ(result["probability"]["paraphrase"]["k"], 1);                                    // 0.7 > 0.1, 0.3 < 0.4
  EXPECT_EQ(result["probability"]["neighbourhood"]["k"], 1);                                 // 0.5 > 0.1, 0.3 < 0.6
  EXPECT_EQ(result["facts"][0]["p_new"], (Json{0.1, 0.6}));
  EXPECT_TRUE(result["facts"][1]["paraphrase"]["share"].is_null());
  EXPECT_FALSE(result.contains("entropy"));
}

TEST(FactStateJson, ReadsBack) {
  const FactState state{made(0.25, true, 3),
                        made(0.5, false, 4),
                        {made(0.1, true, 5)},
                        {made(0.2, false, 6)},
                        {made(0.3, true, 7)},
                        {},
                        1.5,
                        {"text"}};
  EXPECT_EQ(to_json(fact_state_from(parse_json(to_json(state).dump(), "test"))), to_json(state));
}

}  // namespace
}  // namespace suture::steps
