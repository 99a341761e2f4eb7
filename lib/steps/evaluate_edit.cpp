// SPDX-License-Identifier: Apache-2.0
#include "steps/evaluate_edit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>
#include <limits>

#include "core/progress.h"
#include "decode/score.h"

namespace suture::steps {
namespace {

Continuation measure(const decode::LanguageModel& model, const std::string& prompt, const std::string& target, const hook::Plan* plan) {
  const auto [context, continuation] = split_ids(model, prompt, target);
  decode::ScoreText text{context, int64_t(context.size())};
  text.ids.insert(text.ids.end(), continuation.begin(), continuation.end());
  const decode::TextScore score = decode::score(model.transformer, text, plan, 1);
  Continuation out{0, true, score.tokens[context.size() - 1].top[0].first};
  double sum = 0;
  for (size_t i = context.size(); i < text.ids.size(); ++i) {
    sum += score.tokens[i].log_prob;
    out.top1 = out.top1 && score.tokens[i - 1].top[0].first == text.ids[i];
  }
  out.probability = std::exp(sum / double(continuation.size()));
  return out;
}

void generate(const decode::LanguageModel& model, const std::vector<Fact>& facts, const hook::Plan* plan, int64_t new_tokens, std::vector<FactState>& states) {
  std::vector<decode::Prompt> prompts;
  for (const Fact& fact : facts)
    for (const std::string& prompt : fact.generation) prompts.push_back({model.encode(prompt).ids, {}});
  if (prompts.empty() || new_tokens == 0) return;
  decode::PlainNextToken next(model.transformer, plan);
  decode::GenerateOptions options;
  options.max_new = new_tokens;
  const auto completions = decode::generate(next, prompts, options);
  size_t i = 0;
  for (size_t f = 0; f < facts.size(); ++f) {
    double sum = 0;
    for (size_t g = 0; g < facts[f].generation.size(); ++g, ++i) {
      sum += ngram_entropy(completions[i].ids);
      states[f].generated.push_back(model.decode(completions[i].ids));
    }
    if (!facts[f].generation.empty()) states[f].generation_entropy = sum / double(facts[f].generation.size());
  }
}

double entropy(const std::vector<int32_t>& ids, size_t n) {
  std::map<std::vector<int32_t>, int64_t> counts;
  int64_t total = 0;
  for (size_t i = 0; i + n <= ids.size(); ++i, ++total) ++counts[{ids.begin() + int64_t(i), ids.begin() + int64_t(i + n)}];
  double bits = 0;
  for (const auto& [gram, count] : counts) bits -= double(count) / double(total) * std::log2(double(count) / double(total));
  return bits;
}

struct Share {
  int64_t hits = 0, n = 0;
  void add(bool hit) {
    hits += hit;
    ++n;
  }
  Json json() const { return {{"share", n == 0 ? Json(nullptr) : Json(double(hits) / double(n))}, {"k", hits}, {"n", n}}; }
  void operator+=(const Share& other) {
    hits += other.hits;
    n += other.n;
  }
};

struct Tally {
  Share efficacy, paraphrase, neighbourhood, es, ps, ns;
  void operator+=(const Tally& t) {
    efficacy += t.efficacy;
    paraphrase += t.paraphrase;
    neighbourhood += t.neighbourhood;
    es += t.es;
    ps += t.ps;
    ns += t.ns;
  }
  Json json() const {
    return {{"efficacy", efficacy.json()}, {"paraphrase", paraphrase.json()}, {"neighbourhood", neighbourhood.json()},
            {"probability", {{"efficacy", es.json()}, {"paraphrase", ps.json()}, {"neighbourhood", ns.json()}}}};
  }
};

Tally tally(const Fact& fact, const FactState& before, const FactState& after) {
  Tally t;
  t.efficacy.add(after.target_new.top1);
  for (const Continuation& c : after.paraphrase_new) t.paraphrase.add(c.top1);
  for (size_t i = 0; i < after.neighbour_new.size(); ++i)
    t.neighbourhood.add(after.neighbour_new[i].first_choice == before.neighbour_new[i].first_choice);
  if (fact.target_true.empty()) return t;
  t.es.add(after.target_new.probability > after.target_true.probability);
  for (size_t i = 0; i < after.paraphrase_new.size(); ++i)
    t.ps.add(after.paraphrase_new[i].probability > after.paraphrase_true[i].probability);
  for (size_t i = 0; i < after.neighbour_new.size(); ++i)
    t.ns.add(after.neighbour_true[i].probability > after.neighbour_new[i].probability);
  return t;
}

}  // namespace

double ngram_entropy(const std::vector<int32_t>& ids) { return (2.0 / 3 * entropy(ids, 2) + 4.0 / 3 * entropy(ids, 3)) / 2; }

std::vector<FactState> measure_facts(const decode::LanguageModel& model, const std::vector<Fact>& facts, const hook::Plan* plan, int64_t new_tokens) {
  std::vector<FactState> states(facts.size());
  Progress progress("facts", int64_t(facts.size()), "facts");
  for (size_t f = 0; f < facts.size(); ++f) {
    const Fact& fact = facts[f];
    FactState& state = states[f];
    state.generation_entropy = std::numeric_limits<double>::quiet_NaN();
    const auto both = [&](const std::string& prompt, auto&& put) {
      put(measure(model, prompt, fact.target_new, plan),
          fact.target_true.empty() ? Continuation{} : measure(model, prompt, fact.target_true, plan));
    };
    both(fact.text(), [&](Continuation n, Continuation t) { state.target_new = n, state.target_true = t; });
    for (const std::string& prompt : fact.paraphrases)
      both(prompt, [&](Continuation n, Continuation t) { state.paraphrase_new.push_back(n), state.paraphrase_true.push_back(t); });
    for (const std::string& prompt : fact.neighbours)
      both(prompt, [&](Continuation n, Continuation t) { state.neighbour_new.push_back(n), state.neighbour_true.push_back(t); });
    progress.advance();
  }
  generate(model, facts, plan, new_tokens, states);
  return states;
}

Json compare_states(const std::vector<Fact>& facts, const std::vector<FactState>& before, const std::vector<FactState>& after) {
  Json rows = Json::array();
  Tally all;
  double entropy_before = 0, entropy_after = 0;
  int64_t generated = 0;
  for (size_t f = 0; f < facts.size(); ++f) {
    const Tally t = tally(facts[f], before[f], after[f]);
    all += t;
    Json row = {{"id", facts[f].id}, {"subject", facts[f].subject}, {"prompt", facts[f].text()},
                {"target_new", facts[f].target_new}, {"target_true", facts[f].target_true},
                {"p_new", {before[f].target_new.probability, after[f].target_new.probability}},
                {"p_true", {before[f].target_true.probability, after[f].target_true.probability}}};
    row.update(t.json());
    if (!std::isnan(after[f].generation_entropy)) {
      row["entropy"] = {before[f].generation_entropy, after[f].generation_entropy};
      row["generated"] = after[f].generated;
      entropy_before += before[f].generation_entropy;
      entropy_after += after[f].generation_entropy;
      ++generated;
    }
    rows.push_back(std::move(row));
  }
  Json out = all.json();
  if (generated > 0) out["entropy"] = {entropy_before / double(generated), entropy_after / double(generated)};
  out["facts"] = std::move(rows);
  return out;
}

}  // namespace suture::steps
