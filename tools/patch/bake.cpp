// SPDX-License-Identifier: Apache-2.0
// suture patch bake: write a plan's constant vectors into biases, where that is exact, and prove it on the written
// model.
#include "model/bake.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "decode/language_model.h"
#include "tensor/dtype.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

// Largest difference of logits between the written model and the old one under the plan, over random ids, in fp32.
double logit_difference(const model::Checkpoint& before, const model::Checkpoint& after, const hook::Plan& plan) {
  const at::NoGradGuard no_grad;
  Stream stream(1, "bake/check");
  std::vector<std::vector<int32_t>> rows(3);
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t t = 0; t < 8 + 4 * i; ++t) rows[i].push_back(int32_t(stream.below(before.config().vocab)));
  const model::Batch batch = model::pad_left(rows);
  hook::PlanRun run(plan);
  const at::Tensor wanted = model::Transformer::load(before, {}).logits(batch, nullptr, &run);
  const at::Tensor got = model::Transformer::load(after, {}).logits(batch, nullptr, nullptr);
  const at::Tensor real = (batch.tokens.position_BT >= 0).unsqueeze(-1);
  return ((wanted - got).abs() * real).max().item<double>();
}

// One unit in the last place of the stored biases reaches the logits about tenfold on the models tried; fp32 rounding
// alone stays below 1e-4.
double bound_for(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-3 : dtype == at::kHalf ? 0.05 : 0.5; }

int run_bake(const Invocation& invocation) {
  const fs::path model_path = invocation.positional(0, "MODEL");
  const fs::path plan_path = invocation.positional(1, "PLAN");
  require_exists(plan_path, "plan", Code::kConfig);
  const model::Checkpoint checkpoint = model::Checkpoint::open(model_path);
  const hook::Plan plan = read_plan(plan_path, nullptr, &checkpoint);
  const model::Baked baked = model::bake(checkpoint, plan);
  if (invocation.common.check) return 0;
  const Stopwatch watch;
  AtomicFolder out(invocation.out(), invocation.common.force);
  model::write_checkpoint(checkpoint, baked.changes, out.path());
  const model::Checkpoint written = model::Checkpoint::open(out.path());
  const double difference = logit_difference(checkpoint, written, plan);
  const at::ScalarType dtype = checkpoint.is_gguf() ? at::kFloat : checkpoint.main_dtype();
  if (!(difference <= bound_for(dtype)))
    fail(Code::kNumerics,
         "cannot bake: logits of the written model differ from the plan's by {:.3g} (bound {:.3g} for {})", difference,
         bound_for(dtype), tensor::file_spelling(dtype));
  const Json manifest = {
      {"tool", "suture patch bake"},
      {"environment", environment()},
      {"model", model_record(checkpoint)},
      {"plan", plan.to_json()},
      {"added", baked.added},
      {"changed", baked.changed},
      {"config_flags", baked.flags},
      {"engines", baked.engines},
      {"result", {{"digest", written.digest()}}},
      {"logit_difference", difference},
      {"seconds", watch.seconds()},
      {"note", "a baked vector acts on every position; a plan with other tokens is another intervention"}};
  write_atomically(out.path() / "manifest.json", to_text(manifest));
  if (invocation.common.dry_run) return 0;
  out.commit();
  if (invocation.common.json)
    emit(manifest);
  else
    emit(fmt::format(
        "added {} tensors, changed {}, config flags: {}\nlogits equal the plan's within {:.2g}\n{}\nwrote {}",
        baked.added.size(), baked.changed.size(),
        baked.flags.empty() ? "none" : fmt::format("{}", fmt::join(baked.flags, ", ")), difference, baked.engines,
        out.target().string()));
  return 0;
}

}  // namespace

const Command kPatchBake = {.name = "patch bake",
                            .usage = "patch bake MODEL PLAN --out DIR",
                            .summary = "write a plan into biases where that is exact",
                            .run = run_bake};

}  // namespace suture::cli
