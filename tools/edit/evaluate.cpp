// SPDX-License-Identifier: Apache-2.0
// suture edit evaluate: efficacy, paraphrase, neighbourhood and n-gram entropy of an edited model against its original.
#include "steps/evaluate_edit.h"
#include "tools/commands.h"
#include "tools/edit/edit_config.h"

namespace suture::cli {
namespace {

struct EvaluateConfig {
  fs::path before, after, facts, plan;
  int64_t generate = 100;
  template <class V>
  void visit(V& v) {
    v.required("before", before, "the model before the edit");
    v.required("after", after, "the model after it");
    v.required("facts", facts, "the facts, JSONL");
    v.optional("plan", plan, "plan file for the model after");
    v.optional("generate", generate, "tokens of free text for the n-gram entropy; 0: none", config::between(0, 1000));
  }
};

std::vector<steps::FactState> states_of(const fs::path& path, const fs::path& plan, const steps::Facts& facts,
                                        int64_t tokens, const Invocation& invocation) {
  const auto model = decode::LanguageModel::load(path, load_options(invocation, at::kFloat));
  const hook::Plan used = plan.empty() ? hook::Plan{} : read_plan(plan, &model.transformer, &model.checkpoint);
  return steps::measure_facts(model, facts.facts, &used, tokens);
}

int run_evaluate(const Invocation& invocation) {
  const auto config = load_config<EvaluateConfig>(invocation);
  const steps::Facts facts = steps::read_facts(config.facts);
  if (invocation.common.check) return 0;
  for (const fs::path& model : {config.before, config.after}) require_exists(model, "model", Code::kModel);
  const auto before = states_of(config.before, {}, facts, config.generate, invocation);
  const auto after = states_of(config.after, config.plan, facts, config.generate, invocation);
  const Json result = steps::compare_states(facts.facts, before, after);
  if (!invocation.common.out.empty()) write_atomically(invocation.common.out, to_text(result));
  if (invocation.common.json || invocation.common.out.empty()) emit(result);
  return 0;
}

}  // namespace

const Command kEditEvaluate = {.name = "edit evaluate",
                               .usage = "edit evaluate CONFIG [--out FILE]",
                               .summary = "measure an edit: efficacy, paraphrase, neighbourhood, entropy",
                               .run = run_evaluate,
                               .schema = &config::schema<EvaluateConfig>};

}  // namespace suture::cli
