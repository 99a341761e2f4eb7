// SPDX-License-Identifier: Apache-2.0
// How an edit did: efficacy, paraphrase and neighbourhood (Meng et al., arXiv 2202.05262, section 3.2), by top-1 and by
// probability, and the n-gram entropy of free text about the subject.
#pragma once
#include "steps/facts.h"

namespace suture::steps {

// One prompt with a continuation, under one model.
struct Continuation {
  double probability = 0;    // exp(mean log p of the continuation's tokens)
  bool top1 = false;         // every token of it is the model's first choice
  int32_t first_choice = 0;  // most likely next token after the prompt
};

struct FactState {                       // one fact under one model
  Continuation target_new, target_true;  // on the fact's own prompt
  std::vector<Continuation> paraphrase_new, paraphrase_true;
  std::vector<Continuation> neighbour_new, neighbour_true;
  double generation_entropy = 0;  // ngram_entropy.h; NaN without generation prompts
  std::vector<std::string> generated;
};

// `plan` may be null. Generations are greedy, `new_tokens` long; 0 skips them.
std::vector<FactState> measure_facts(const decode::LanguageModel& model, const std::vector<Fact>& facts,
                                     const hook::Plan* plan, int64_t new_tokens);

Json to_json(const FactState& state);  // without the generations
FactState fact_state_from(const Json& json);

// Per fact and together. Shares are means over prompts: efficacy (target is top-1), paraphrase (likewise),
// neighbourhood (first choice is what it was before), and the comparisons P(new) > P(true) of the paper under
// "probability".
Json compare_states(const std::vector<Fact>& facts, const std::vector<FactState>& before,
                    const std::vector<FactState>& after);

}  // namespace suture::steps
