// SPDX-License-Identifier: Apache-2.0
#include "tools/audit/audit_report.h"

#include "audit/audit_document.h"
#include "audit/statistics.h"
#include "report/document.h"
#include "steps/evaluate_edit.h"

namespace suture::cli {
namespace {

std::vector<audit::Outcome> outcomes_of(const audit::Journal& journal) {
  std::vector<audit::Outcome> outcomes;
  for (const Json& row : journal.rows()) {
    if (!row.contains("label")) continue;
    outcomes.push_back(
        {row["subject"], row["suite"] == "harmful" ? audit::SuiteKind::kHarmful : audit::SuiteKind::kHarmless,
         row["prompt"], row["category"], row["question"], audit::label_named(row["label"].get<std::string>()),
         row["rule"], row["text"], row["tokens"].get<int64_t>()});
  }
  return outcomes;
}

Json edits_of(const AuditConfig& config, const audit::Journal& journal) {
  Json edits = Json::object();
  if (config.facts.empty()) return edits;
  const steps::Facts facts = chosen_facts(config);
  const auto states = [&](const std::string& subject) {
    std::vector<steps::FactState> list;
    for (const Json& state : journal.row(subject + "/facts")["states"]) list.push_back(steps::fact_state_from(state));
    return list;
  };
  const auto before = states(config.subjects.front().name);
  for (const SubjectConfig& subject : config.subjects) {
    const Json all = steps::compare_states(facts.facts, before, states(subject.name));
    for (const char* measure : {"efficacy", "paraphrase", "neighbourhood"})
      edits[subject.name][measure] =
          audit::to_json(audit::wilson(all[measure]["k"].get<int64_t>(), all[measure]["n"].get<int64_t>()));
  }
  return edits;
}

// What an edited checkpoint says of itself.
Json changes_of(const SubjectConfig& subject) {
  const fs::path path = subject.model / "manifest.json";
  if (!fs::exists(path)) return nullptr;
  const Json manifest = read_json(path);
  if (!manifest.contains("changed") || !manifest["changed"].is_array()) return nullptr;
  Json tensors = Json::array();
  for (const Json& t : manifest["changed"])
    if (t.is_object())
      tensors.push_back({{"name", t["tensor"]},
                         {"norm", t["change_norm"]},
                         {"relative_norm", t["relative_change"]},
                         {"before", t["sha256_before"]},
                         {"after", t["sha256_after"]}});
  Json facts = Json::object();
  for (const Json& fact : manifest.value("facts", Json::array()))
    facts[fact["prompt"].get<std::string>()] = fact["target_new"];
  return {{"subject", subject.name}, {"what", manifest.value("tool", "")}, {"facts", facts}, {"tensors", tensors}};
}

// What the journal and the configuration know beside the answers.
void add_subject(Json& report, const SubjectConfig& subject, const audit::Journal& journal) {
  Json& entry = report["subjects"][subject.name];
  if (!subject.about.empty()) entry["about"] = subject.about;
  const Json& done = journal.row(subject.name + "/done");
  for (const char* key : {"voice", "weights_bytes", "peak_memory_bytes"}) entry[key] = done[key];
  report["stages"].push_back({{"name", subject.name}, {"seconds", done["seconds"]}});
  if (const std::string neutral = subject.name + "/neutral"; journal.done(neutral))
    for (const char* key : {"perplexity", "kl"}) entry[key] = journal.row(neutral)[key];
  if (const Json changes = changes_of(subject); !changes.is_null()) report["changes"].push_back(changes);
}

}  // namespace

Json make_report(const AuditConfig& config, const audit::Journal& journal, const Json& settings) {
  std::vector<std::string> names;
  audit::GatesBySubject gates;
  for (const SubjectConfig& subject : config.subjects) {
    names.push_back(subject.name);
    gates.emplace_back(subject.name, subject.gates);
  }
  Json report = audit::summarise(names, outcomes_of(journal));
  report["title"] = config.title;
  report["settings"] = settings;
  report["edits"] = edits_of(config, journal);
  report["changes"] = Json::array();
  report["stages"] = Json::array();
  for (const SubjectConfig& subject : config.subjects) add_subject(report, subject, journal);
  return audit::with_gates(std::move(report), gates);
}

void write_report(const fs::path& folder, const Json& report) {
  const report::Document document = audit::audit_document(report);
  write_atomically(folder / "report.json", to_text(report));
  write_atomically(folder / "report.md", report::to_markdown(document));
  write_atomically(folder / "report.html", report::to_html(document));
  report::write_charts(document, folder);
}

}  // namespace suture::cli
