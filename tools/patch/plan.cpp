// SPDX-License-Identifier: Apache-2.0
// suture patch plan: check a plan file against a model and say what it will do.
#include "model/bake.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

int64_t width_of(const model::ModelConfig& c, hook::Site site) {
  return site == hook::Site::kHeadOut ? c.heads * c.head_dim : site == hook::Site::kMlpKey ? c.hidden : c.width;
}

std::string bake_answer(const model::Checkpoint& checkpoint, const hook::Plan& plan) {
  try {
    const model::Baked baked = model::bake(checkpoint, plan);
    return fmt::format("can be baked: {} tensors added, {} changed; {}", baked.added.size(), baked.changed.size(),
                       baked.engines);
  } catch (const Error& error) {
    return error.what();
  }
}

int run_plan(const Invocation& invocation) {
  const auto file = load_config<PlanFile>(invocation);
  if (invocation.common.check) return 0;
  const hook::Plan plan = make_plan(file);
  Json json = plan.to_json();
  json["digest"] = plan.digest();
  std::string text = plan.text();
  if (invocation.positionals().size() > 1) {
    const model::Checkpoint checkpoint = model::Checkpoint::open(invocation.positional(1, "MODEL"));
    plan.check(checkpoint.config().layers, [&](hook::Site site) { return width_of(checkpoint.config(), site); });
    json["baking"] = bake_answer(checkpoint, plan);
    text += "fits the model\nbaking: " + json["baking"].get<std::string>() + "\n";
  }
  if (!invocation.common.out.empty()) write_atomically(invocation.common.out, config::resolved_yaml(file));
  if (invocation.common.json)
    emit(json);
  else
    emit(text + "digest " + plan.digest() + "\n");
  return 0;
}

}  // namespace

const Command kPatchPlan = {.name = "patch plan",
                            .usage = "patch plan PLAN [MODEL] [--out FILE]",
                            .summary = "check a plan of interventions, against a model when given",
                            .run = run_plan,
                            .schema = &config::schema<PlanFile>};

}  // namespace suture::cli
