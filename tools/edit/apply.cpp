// SPDX-License-Identifier: Apache-2.0
// suture edit apply: write facts into a checkpoint, one after the other, and judge each on the final weights.
#include <ATen/core/grad_mode.h>

#include "core/digest.h"
#include "core/log.h"
#include "core/progress.h"
#include "io/delta_file.h"
#include "io/safetensors.h"
#include "model/delta.h"
#include "steps/evaluate_edit.h"
#include "tensor/dtype.h"
#include "tools/commands.h"
#include "tools/edit/edit_config.h"

namespace suture::cli {
namespace {

methods::RomeOptions rome_options(const EditConfig& config) {
  methods::RomeOptions options;
  options.value = {config.layer, config.steps,     config.learning_rate, config.weight_decay,
                   config.clamp, config.kl_factor, config.loss_stop};
  options.key_source =
      config.method == EditMethod::kRome ? methods::KeySource::kBarePrompt : methods::KeySource::kAveraged;
  return options;
}

struct Written {
  std::vector<model::LowRank> delta;
  Json facts = Json::array();
  Json moment;
  std::vector<std::string> contexts;
  double seconds = 0;
};

// Every fact is computed on the model as the facts before it left it.
Written write_facts(decode::LanguageModel& model, const std::vector<steps::Fact>& facts, const EditConfig& config) {
  Written out;
  const auto solver = moment_for(model, config.layer, config.moment, out.moment);
  out.contexts = steps::sample_contexts(model, config.contexts.lengths, config.contexts.count, config.seed);
  const Stopwatch watch;
  Progress progress("edits", int64_t(facts.size()), "facts");
  for (const steps::Fact& fact : facts) {
    const Stopwatch one;
    const methods::RomeEdit edit = methods::rome(model.transformer, steps::make_problem(model, fact, out.contexts),
                                                 solver.get(), rome_options(config));
    const model::LowRank factor{
        {model::Part::kDown, config.layer}, edit.left_O.unsqueeze(1), edit.right_I.unsqueeze(1)};
    model::add_to(model.transformer, {factor});
    out.delta.push_back(factor);
    Json record = {
        {"id", fact.id}, {"subject", fact.subject}, {"prompt", fact.text()}, {"target_new", fact.target_new}};
    record.update(edit.record);
    record["seconds"] = one.seconds();
    out.facts.push_back(std::move(record));
    progress.note(fmt::format("{}: p {:.3f}", fact.id, edit.value.target_probability.back()));
    progress.advance();
  }
  out.seconds = watch.seconds();
  return out;
}

io::DeltaFile delta_file(const model::Checkpoint& source, const Written& written, const model::Applied& applied,
                         Json record) {
  io::DeltaFile file;
  file.record = std::move(record);
  for (size_t i = 0; i < written.delta.size(); ++i)
    file.factors.push_back(
        {written.delta[i].weight.text(), written.delta[i].left_OR, written.delta[i].right_IR, written.facts[i]});
  for (const auto& [name, after] : applied.tensors) {
    const at::Tensor before = source.tensor(name).contiguous(), now = after.contiguous();
    const auto bytes = io::tensor_bytes(before);
    file.originals.push_back({name,
                              tensor::file_spelling(before.scalar_type()),
                              source.shape(name),
                              {bytes.begin(), bytes.end()},
                              sha256(bytes),
                              sha256(io::tensor_bytes(now))});
  }
  return file;
}

Json rounding_record(const std::vector<model::Rounding>& rounding, const io::DeltaFile& delta) {
  Json rows = Json::array();
  for (size_t i = 0; i < rounding.size(); ++i) {
    const model::Rounding& r = rounding[i];
    rows.push_back({{"tensor", r.tensor},
                    {"dtype", r.dtype},
                    {"change_norm", r.change_norm},
                    {"relative_change", r.relative_change},
                    {"kept", r.kept},
                    {"rounding_error", r.error},
                    {"changed_numbers", r.changed_numbers},
                    {"sha256_before", delta.originals[i].sha256_before},
                    {"sha256_after", delta.originals[i].sha256_after}});
  }
  return rows;
}

void print_summary(const Json& manifest, const fs::path& out) {
  const Json& evaluation = manifest["evaluation"];
  for (const Json& fact : evaluation["facts"])
    emit(fmt::format("{:<26} {} -> {:<10} p(new) {:.3f} -> {:.3f}  paraphrases {}/{}  neighbours kept {}/{}",
                     fact["id"].get<std::string>(), fact["target_true"].get<std::string>(),
                     fact["target_new"].get<std::string>(), fact["p_new"][0].get<double>(),
                     fact["p_new"][1].get<double>(), fact["paraphrase"]["k"].get<int64_t>(),
                     fact["paraphrase"]["n"].get<int64_t>(), fact["neighbourhood"]["k"].get<int64_t>(),
                     fact["neighbourhood"]["n"].get<int64_t>()));
  const auto share = [&](const char* key) {
    return fmt::format("{}/{}", evaluation[key]["k"].get<int64_t>(), evaluation[key]["n"].get<int64_t>());
  };
  emit(fmt::format("targets top-1 {}, paraphrases top-1 {}, neighbours kept {}", share("efficacy"), share("paraphrase"),
                   share("neighbourhood")));
  for (const Json& t : manifest["changed"])
    emit(fmt::format("changed {}: relative norm {:.4f}, {} numbers", t["tensor"].get<std::string>(),
                     t["relative_change"].get<double>(), t["changed_numbers"].get<int64_t>()));
  emit(fmt::format("wrote {}", out.string()));
}

int run_apply(const Invocation& invocation) {
  const auto config = load_config<EditConfig>(invocation);
  const steps::Facts all = steps::read_facts(config.facts);
  const std::vector<steps::Fact> facts = steps::chosen_facts(all, config.only);
  if (invocation.common.check) return 0;
  require_exists(config.model, "model", Code::kModel);
  const Stopwatch watch;
  AtomicFolder out(invocation.out(), invocation.common.force);
  decode::LanguageModel model = decode::LanguageModel::load(config.model, load_options(invocation, at::kFloat));
  if (config.layer >= model.transformer.config().layers)
    fail(Code::kModel, "cannot edit layer {}: model has layers 0..{}", config.layer,
         model.transformer.config().layers - 1);
  if (model.transformer.dtype() != at::kFloat)
    fail(Code::kUsage, "cannot edit in {}: values are optimised in fp32",
         tensor::flag_spelling(model.transformer.dtype()));

  const auto before = steps::measure_facts(model, facts, nullptr, config.generate);
  const Written written = write_facts(model, facts, config);
  const model::Applied applied = model::apply(model.checkpoint, written.delta);
  Json record = {{"tool", "suture edit apply"},
                 {"environment", environment()},
                 {"config", config::resolved(config)},
                 {"model", model_record(model.checkpoint)},
                 {"facts_file", {{"path", all.origin}, {"sha256", all.digest}}},
                 {"contexts", written.contexts},
                 {"moment", written.moment},
                 {"facts", written.facts}};
  const io::DeltaFile delta = delta_file(model.checkpoint, written, applied, record);

  model::write_checkpoint(model.checkpoint, {applied.tensors, {}}, out.path());
  io::write_delta_file(out.path() / "edit.delta.h5", delta);
  const double edited = watch.seconds();
  // The judgement is passed on what was written, rounding included.
  const auto final_model = decode::LanguageModel::load(out.path(), {at::kFloat, model.transformer.device()});
  const auto after = steps::measure_facts(final_model, facts, nullptr, config.generate);
  record["changed"] = rounding_record(applied.rounding, delta);
  record["result"] = {{"digest", final_model.checkpoint.digest()}};
  record["evaluation"] = steps::compare_states(facts, before, after);
  record["seconds"] = {{"edits", written.seconds}, {"until_written", edited}, {"total", watch.seconds()}};
  record["peak_memory_bytes"] = peak_rss_bytes();
  write_atomically(out.path() / "manifest.json", to_text(record));
  if (invocation.common.dry_run) return 0;
  out.commit();
  if (invocation.common.json)
    emit(record);
  else
    print_summary(record, out.target());
  return 0;
}

}  // namespace

const Command kEditApply = {.name = "edit apply",
                            .usage = "edit apply CONFIG --out DIR",
                            .summary = "write facts into a checkpoint; the result can be undone exactly",
                            .run = run_apply,
                            .schema = &config::schema<EditConfig>};

}  // namespace suture::cli
