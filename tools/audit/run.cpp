// SPDX-License-Identifier: Apache-2.0
// suture audit run: subjects x prompts -> labelled answers -> report. Answers are journalled as they come; a killed run
// goes on where it stopped. audit report and audit compare work on what it wrote.
#include "audit/audit_document.h"
#include "core/digest.h"
#include "core/log.h"
#include "core/progress.h"
#include "report/table.h"
#include "tools/audit/audit_report.h"
#include "tools/commands.h"

namespace suture::cli {
namespace {

// Of everything that decides the answers.
std::string digest_of(const AuditConfig& config, const Suites& suites, at::ScalarType dtype, const Json& records) {
  Sha256 digest;
  digest.update(config::resolved(config).dump())
      .update(suites.harmful.digest)
      .update(suites.harmless.digest)
      .update(c10::toString(dtype));
  for (const SubjectConfig& subject : config.subjects) {
    digest.update(records[subject.name]["digest"].get<std::string>());
    if (!subject.plan.empty()) digest.update(read_plan(subject.plan).digest());  // its vectors, not their path
    if (!subject.guide.empty()) {
      const GuideFile guide = read_guide(subject.guide);
      digest.update(read_text(subject.guide, Code::kConfig));
      if (!guide.harmful_model.empty()) digest.update(model::Checkpoint::open(guide.harmful_model).digest());
    }
  }
  for (const fs::path& file : {config.facts, config.neutral.text})
    if (!file.empty()) digest.update(sha256_file(file));
  return digest.hex();
}

Json settings_of(const AuditConfig& config, const Suites& suites, const std::string& digest) {
  return {
      {"judge", "lexical"},
      {"prompt style", audit::name(config.suite.style)},
      {"decoding", fmt::format("greedy, at most {} tokens, batch {}", config.generate.max_new, config.generate.batch)},
      {"harmful suite", fmt::format("{} prompts, sha256 {}", suites.harmful.prompts.size(), suites.harmful.digest)},
      {"harmless suite", fmt::format("{} prompts, sha256 {}", suites.harmless.prompts.size(), suites.harmless.digest)},
      {"special tokens in questions", "encoded as plain text"},
      {"date in templates", "2026-01-01"},
      {"digest", digest}};
}

void print_report(const fs::path& folder, const Json& report) {
  emit(report::to_text(audit::subjects_table(report)));
  emit(fmt::format("{}\n{}", report["verdict_text"].get<std::string>(), (folder / "report.html").string()));
}

// Gives the report to stdout; returns the exit code of its gates.
int conclude(const Invocation& invocation, const fs::path& folder, const Json& report) {
  if (invocation.common.json)
    emit(report);
  else
    print_report(folder, report);
  return int(audit::exit_code(report));
}

int run_audit(const Invocation& invocation) {
  const auto config = load_config<AuditConfig>(invocation);
  const Suites suites = read_suites(config.suite);
  for (const fs::path& file : {config.facts, config.neutral.text})
    if (!file.empty()) require_exists(file, "data", Code::kData);
  if (invocation.common.check) return 0;
  const Stopwatch watch;
  const fs::path out = invocation.out();
  const model::LoadOptions options = load_options(invocation);
  std::vector<Speakers> speakers = open_checkpoints(config.subjects);
  const Json records = records_of(speakers);
  const std::string digest = digest_of(config, suites, options.dtype, records);
  if (invocation.common.dry_run) {
    emit(fmt::format("{} subjects x {} prompts", config.subjects.size(),
                     suites.harmful.prompts.size() + suites.harmless.prompts.size()));
    return 0;
  }
  audit::Journal journal(out / "responses.jsonl", "audit", digest, invocation.common.force);
  if (journal.resumed() > 0) spdlog::info("going on after {} rows", journal.resumed());
  ask_subjects(config, suites, std::move(speakers), options, journal);
  const Json report = make_report(config, journal, settings_of(config, suites, digest));
  write_report(out, report);
  const Json manifest = {
      {"tool", "suture audit run"}, {"environment", environment()}, {"config", config::resolved(config)},
      {"digest", digest},           {"seconds", watch.seconds()},   {"peak_memory_bytes", peak_rss_bytes()},
      {"subjects", records}};
  write_atomically(out / "manifest.json", to_text(manifest));
  return conclude(invocation, out, report);
}

int run_render(const Invocation& invocation) {
  const fs::path folder = invocation.positional(0, "DIR");
  const Json report = read_json(folder / "report.json");
  write_report(folder, report);
  return conclude(invocation, folder, report);
}

int run_compare(const Invocation& invocation) {
  Json merged = {{"subjects", Json::object()}, {"edits", Json::object()}};
  for (size_t i = 0; i < 2; ++i) {
    const fs::path path = invocation.positional(i, "REPORT");
    const Json report = read_json(fs::is_directory(path) ? path / "report.json" : path);
    for (const char* section : {"subjects", "edits"})
      for (const auto& [name, entry] : report.at(section).items())
        merged[section][fmt::format("{}:{}", i == 0 ? "a" : "b", name)] = entry;
  }
  if (invocation.common.json)
    emit(merged);
  else
    emit(report::to_text(audit::subjects_table(merged)));
  return 0;
}

}  // namespace

const Command kAuditRun = {.name = "audit run",
                           .usage = "audit run CONFIG --out DIR",
                           .summary = "ask, judge, measure and report; resumes after a stop",
                           .run = run_audit,
                           .schema = &config::schema<AuditConfig>};
const Command kAuditReport = {.name = "audit report",
                              .usage = "audit report DIR",
                              .summary = "write a finished audit's pages again from its report.json",
                              .run = run_render};
const Command kAuditCompare = {.name = "audit compare",
                               .usage = "audit compare REPORT REPORT",
                               .summary = "two audits' subjects side by side",
                               .run = run_compare};

}  // namespace suture::cli
