// SPDX-License-Identifier: Apache-2.0
#include "steps/evaluate_edit.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include <cmath>
#include <limits>

#include "core/progress.h"
#include "decode/score.h"
#include "steps/ngram_entropy.h"

namespace suture::steps {
namespace {

// A prompt and the continuations that are asked of it.
struct Question {
  std::vector<int32_t> context;
  std::vector<std::vector<int32_t>> targets;
  std::vector<Continuation> answers;  // one a target
  bool short_targets() const {
    return std::all_of(targets.begin(), targets.end(), [](const auto& t) { return t.size() == 1; });
  }
};

Question question(const decode::LanguageModel& model, const std::string& prompt, const Fact& fact) {
  Question q;
  for (const std::string& target : {fact.target_new, fact.target_true}) {
    if (target.empty()) continue;
    auto [context, continuation] = split_ids(model, prompt, target);
    q.context = std::move(context);
    q.targets.push_back(std::move(continuation));
  }
  return q;
}

// Longer targets: one forward pass each over prompt and target.
void answer_long(const decode::LanguageModel& model, Question& q, const hook::Plan* plan) {
  for (const std::vector<int32_t>& target : q.targets) {
    decode::ScoreText text{q.context, int64_t(q.context.size())};
    text.ids.insert(text.ids.end(), target.begin(), target.end());
    const decode::TextScore score = decode::score(model.transformer, text, plan, 1);
    Continuation out{0, true, score.tokens[q.context.size() - 1].top[0].first};
    double sum = 0;
    for (size_t i = q.context.size(); i < text.ids.size(); ++i) {
      sum += score.tokens[i].log_prob;
      out.top1 = out.top1 && score.tokens[i - 1].top[0].first == text.ids[i];
    }
    out.probability = std::exp(sum / double(target.size()));
    q.answers.push_back(out);
  }
}

constexpr size_t kRows = 64;  // prompts run together

// One-token targets: the distributions after many prompts in one ragged batch.
void answer_short(const decode::LanguageModel& model, std::vector<Question*> batch, const hook::Plan* plan) {
  std::vector<std::vector<int32_t>> rows;
  for (const Question* q : batch) rows.push_back(q->context);
  hook::PlanRun run(plan == nullptr ? hook::Plan{} : *plan);
  const at::Tensor log_p =
      at::log_softmax(model.transformer.last_logits(model::pad_left(rows), nullptr, plan == nullptr ? nullptr : &run)
                          .to(at::kCPU, at::kFloat),
                      -1);
  for (size_t b = 0; b < batch.size(); ++b) {
    const auto first = int32_t(log_p[int64_t(b)].argmax().item<int64_t>());
    for (const std::vector<int32_t>& target : batch[b]->targets)
      batch[b]->answers.push_back({std::exp(log_p[int64_t(b)][target[0]].item<double>()), target[0] == first, first});
  }
}

void answer(const decode::LanguageModel& model, std::vector<Question>& questions, const hook::Plan* plan) {
  const at::NoGradGuard no_grad;
  std::vector<Question*> waiting;
  Progress progress("facts", int64_t(questions.size()), "prompts");
  const auto flush = [&] {
    if (!waiting.empty()) answer_short(model, waiting, plan);
    progress.advance(int64_t(waiting.size()));
    waiting.clear();
  };
  for (Question& q : questions) {
    if (q.short_targets())
      waiting.push_back(&q);
    else
      answer_long(model, q, plan);
    if (waiting.size() == kRows) flush();
  }
  flush();
}

void generate(const decode::LanguageModel& model, const std::vector<Fact>& facts, const hook::Plan* plan,
              int64_t new_tokens, std::vector<FactState>& states) {
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

struct Share {
  int64_t hits = 0, n = 0;
  void add(bool hit) {
    hits += hit;
    ++n;
  }
  Json json() const {
    return {{"share", n == 0 ? Json(nullptr) : Json(double(hits) / double(n))}, {"k", hits}, {"n", n}};
  }
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
    return {{"efficacy", efficacy.json()},
            {"paraphrase", paraphrase.json()},
            {"neighbourhood", neighbourhood.json()},
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

Json to_json(const FactState& state) {
  const auto one = [](const Continuation& c) { return Json{c.probability, c.top1, c.first_choice}; };
  const auto list = [&](const std::vector<Continuation>& all) {
    Json json = Json::array();
    for (const Continuation& c : all) json.push_back(one(c));
    return json;
  };
  return {{"new", one(state.target_new)},
          {"true", one(state.target_true)},
          {"paraphrase_new", list(state.paraphrase_new)},
          {"paraphrase_true", list(state.paraphrase_true)},
          {"neighbour_new", list(state.neighbour_new)},
          {"neighbour_true", list(state.neighbour_true)}};
}

FactState fact_state_from(const Json& json) {
  const auto one = [](const Json& c) {
    return Continuation{c[0].get<double>(), c[1].get<bool>(), c[2].get<int32_t>()};
  };
  const auto list = [&](const Json& all) {
    std::vector<Continuation> out;
    for (const Json& c : all) out.push_back(one(c));
    return out;
  };
  FactState state{one(json["new"]),
                  one(json["true"]),
                  list(json["paraphrase_new"]),
                  list(json["paraphrase_true"]),
                  list(json["neighbour_new"]),
                  list(json["neighbour_true"]),
                  std::numeric_limits<double>::quiet_NaN(),
                  {}};
  return state;
}

std::vector<FactState> measure_facts(const decode::LanguageModel& model, const std::vector<Fact>& facts,
                                     const hook::Plan* plan, int64_t new_tokens) {
  std::vector<Question> questions;
  for (const Fact& fact : facts) {
    questions.push_back(question(model, fact.text(), fact));
    for (const auto* prompts : {&fact.paraphrases, &fact.neighbours})
      for (const std::string& prompt : *prompts) questions.push_back(question(model, prompt, fact));
  }
  answer(model, questions, plan);
  std::vector<FactState> states(facts.size());
  auto next = questions.begin();
  const auto take = [&](Continuation& fresh, Continuation& old) {
    fresh = next->answers[0];
    if (next->answers.size() > 1) old = next->answers[1];
    ++next;
  };
  for (size_t f = 0; f < facts.size(); ++f) {
    FactState& state = states[f];
    state.generation_entropy = std::numeric_limits<double>::quiet_NaN();
    take(state.target_new, state.target_true);
    for (size_t i = 0; i < facts[f].paraphrases.size(); ++i)
      take(state.paraphrase_new.emplace_back(), state.paraphrase_true.emplace_back());
    for (size_t i = 0; i < facts[f].neighbours.size(); ++i)
      take(state.neighbour_new.emplace_back(), state.neighbour_true.emplace_back());
  }
  generate(model, facts, plan, new_tokens, states);
  return states;
}

Json compare_states(const std::vector<Fact>& facts, const std::vector<FactState>& before,
                    const std::vector<FactState>& after) {
  Json rows = Json::array();
  Tally all;
  double entropy_before = 0, entropy_after = 0;
  int64_t generated = 0;
  for (size_t f = 0; f < facts.size(); ++f) {
    const Tally t = tally(facts[f], before[f], after[f]);
    all += t;
    Json row = {{"id", facts[f].id},
                {"subject", facts[f].subject},
                {"prompt", facts[f].text()},
                {"target_new", facts[f].target_new},
                {"target_true", facts[f].target_true},
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
