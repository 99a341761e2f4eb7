// SPDX-License-Identifier: Apache-2.0
// suture audit run: subjects x prompts -> labelled answers -> report. Answers are journalled as they come; a killed run
// goes on where it stopped.
#include <set>

#include "audit/audit_document.h"
#include "audit/journal.h"
#include "audit/judge.h"
#include "audit/statistics.h"
#include "audit/summary.h"
#include "core/digest.h"
#include "core/log.h"
#include "core/progress.h"
#include "decode/score.h"
#include "report/document.h"
#include "report/table.h"
#include "steps/evaluate_edit.h"
#include "steps/second_moment.h"
#include "tools/audit/audit_config.h"
#include "tools/commands.h"

namespace suture::cli {
namespace {

struct Suites {
  audit::Suite harmful, harmless;
  const audit::Suite& of(audit::SuiteKind kind) const {
    return kind == audit::SuiteKind::kHarmful ? harmful : harmless;
  }
};

audit::Suite limited(audit::Suite suite, int64_t limit) {
  if (limit == 0) return suite;
  std::map<std::string, int64_t> seen;
  std::erase_if(suite.prompts, [&](const audit::Prompt& prompt) { return ++seen[prompt.category] > limit; });
  return suite;
}

Suites read_suites(const SuiteConfig& config) {
  const audit::SuiteColumns columns{config.question, config.category, config.id};
  return {limited(audit::read_suite(config.harmful, columns, "harmful"), config.limit),
          limited(audit::read_suite(config.harmless, columns, "harmless"), config.limit)};
}

steps::Facts facts_of(const AuditConfig& config) {
  steps::Facts facts = steps::read_facts(config.facts);
  facts.facts = steps::chosen_facts(facts, config.facts_only);
  return facts;
}

constexpr audit::SuiteKind kKinds[] = {audit::SuiteKind::kHarmful, audit::SuiteKind::kHarmless};

std::string row_id(const std::string& subject, audit::SuiteKind kind, const std::string& prompt) {
  return fmt::format("{}/{}/{}", subject, audit::name(kind), prompt);
}

// One run: the loaded model is kept while successive subjects use the same checkpoint.
class AuditRun {
 public:
  AuditRun(const AuditConfig& config, Suites suites, model::LoadOptions options, audit::Journal& journal)
      : config_(config), suites_(std::move(suites)), options_(options), journal_(journal) {
    if (!config.facts.empty()) facts_ = facts_of(config);
    if (!config.neutral.text.empty()) paragraphs_ = steps::paragraphs(read_text(config.neutral.text, Code::kData));
    if (config.neutral.paragraphs > 0)
      paragraphs_.resize(std::min(paragraphs_.size(), size_t(config.neutral.paragraphs)));
  }

  void run(const SubjectConfig& subject) {
    const bool reference_needed =
        !paragraphs_.empty() && !reference_ && &subject == &config_.subjects.front() && anything_left();
    if (complete(subject) && !reference_needed) {
      spdlog::info("{}: already complete", subject.name);
      return;
    }
    load(subject.model);
    const Stopwatch watch;
    Voice voice = make_voice(*model_, {subject.plan, subject.guide, subject.system, subject.raw});
    if (reference_needed) reference_ = decode::make_reference(model_->transformer, neutral_texts());
    for (const audit::SuiteKind kind : kKinds) ask(subject, kind, voice);
    measure_neutral(subject, voice);
    measure_facts(subject, voice);
    finish(subject, voice, watch.seconds());
  }

 private:
  bool complete(const SubjectConfig& subject) const { return journal_.done(subject.name + "/done"); }
  bool anything_left() const {
    return std::any_of(config_.subjects.begin(), config_.subjects.end(),
                       [&](const SubjectConfig& s) { return !journal_.done(s.name + "/neutral"); });
  }

  void load(const fs::path& path) {
    if (model_ && loaded_ == path) return;
    model_.reset();  // one model at a time
    spdlog::info("loading {}", path.string());
    model_ = std::make_unique<decode::LanguageModel>(decode::LanguageModel::load(path, options_));
    loaded_ = path;
  }

  void ask(const SubjectConfig& subject, audit::SuiteKind kind, Voice& voice) {
    std::vector<const audit::Prompt*> waiting;
    std::vector<decode::Prompt> prompts;
    for (const audit::Prompt& prompt : suites_.of(kind).prompts)
      if (!journal_.done(row_id(subject.name, kind, prompt.id))) {
        waiting.push_back(&prompt);
        prompts.push_back(voice.prompt(audit::styled(config_.suite.style, prompt.text)));
      }
    if (waiting.empty()) return;
    decode::GenerateOptions options;
    options.max_new = config_.generate.max_new;
    options.batch = config_.generate.batch;
    options.stop_ids = model_->stop_ids;
    Progress progress(fmt::format("{}, {}", subject.name, audit::name(kind)), int64_t(waiting.size()), "prompts");
    decode::generate(*voice.next, prompts, options, [&](size_t i, const decode::Completion& completion) {
      const audit::Prompt& prompt = *waiting[i];
      const bool cut = completion.finish == decode::Finish::kLength;
      const std::string text = model_->decode(completion.ids);
      const audit::Verdict verdict = audit::judge_lexically({prompt.text, text, cut});
      journal_.append({{"id", row_id(subject.name, kind, prompt.id)},
                       {"subject", subject.name},
                       {"suite", audit::name(kind)},
                       {"prompt", prompt.id},
                       {"category", prompt.category},
                       {"question", prompt.text},
                       {"text", text},
                       {"tokens", completion.ids.size()},
                       {"finish", cut ? "length" : "stop"},
                       {"gate_open", completion.gate_open},
                       {"label", audit::name(verdict.label)},
                       {"rule", verdict.rule}});
      progress.advance();
    });
    journal_.sync();
  }

  // Paragraphs as answers to the neutral prompt: with a plan, the prompt is where a gate reads and a vector starts.
  std::vector<decode::ScoreText> neutral_texts() const {
    std::vector<int32_t> context;
    if (!config_.neutral.prompt.empty() && model_->chat_template) context = model_->chat_ids(config_.neutral.prompt);
    std::vector<decode::ScoreText> texts;
    for (const std::string& paragraph : paragraphs_) {
      decode::ScoreText text{context, std::max<int64_t>(1, int64_t(context.size()))};
      const std::vector<int32_t> ids =
          context.empty() ? model_->encode(paragraph).ids : model_->words().encode(paragraph).ids;
      text.ids.insert(text.ids.end(), ids.begin(), ids.end());
      texts.push_back(std::move(text));
    }
    return texts;
  }

  void measure_neutral(const SubjectConfig& subject, const Voice& voice) {
    const std::string id = subject.name + "/neutral";
    if (paragraphs_.empty() || journal_.done(id)) return;
    const decode::Divergence d =
        decode::compare(model_->transformer, neutral_texts(), voice.plan.get(), reference_ ? &*reference_ : nullptr);
    Stream stream(1, "audit/neutral");
    journal_.append({{"id", id},
                     {"perplexity", d.perplexity()},
                     {"kl", audit::to_json(audit::bootstrap_mean(d.kl, stream))},
                     {"tokens", d.nll.size()}});
  }

  void measure_facts(const SubjectConfig& subject, const Voice& voice) {
    const std::string id = subject.name + "/facts";
    if (facts_.facts.empty() || journal_.done(id)) return;
    Json states = Json::array();
    for (const steps::FactState& state : steps::measure_facts(*model_, facts_.facts, voice.plan.get(), 0))
      states.push_back(steps::to_json(state));
    journal_.append({{"id", id}, {"states", std::move(states)}});
  }

  void finish(const SubjectConfig& subject, const Voice& voice, double seconds) {
    journal_.append({{"id", subject.name + "/done"},
                     {"seconds", seconds},
                     {"voice", voice.to_json()},
                     {"weights_bytes", model_->transformer.weight_bytes()},
                     {"dtype", tensor_dtype()},
                     {"peak_memory_bytes", peak_rss_bytes()}});
    journal_.sync();
  }
  std::string tensor_dtype() const { return std::string(c10::toString(model_->transformer.dtype())); }

  const AuditConfig& config_;
  Suites suites_;
  model::LoadOptions options_;
  audit::Journal& journal_;
  steps::Facts facts_;
  std::vector<std::string> paragraphs_;
  std::unique_ptr<decode::LanguageModel> model_;
  fs::path loaded_;
  std::optional<decode::Reference> reference_;
};

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
  const steps::Facts facts = facts_of(config);
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

Json make_report(const AuditConfig& config, const audit::Journal& journal, const Json& settings) {
  std::vector<std::string> names;
  for (const SubjectConfig& subject : config.subjects) names.push_back(subject.name);
  Json report = audit::summarise(names, outcomes_of(journal));
  report["title"] = config.title;
  report["settings"] = settings;
  report["edits"] = edits_of(config, journal);
  report["changes"] = Json::array();
  report["stages"] = Json::array();
  audit::GatesBySubject gates;
  for (const SubjectConfig& subject : config.subjects) {
    Json& entry = report["subjects"][subject.name];
    if (!subject.about.empty()) entry["about"] = subject.about;
    const Json& done = journal.row(subject.name + "/done");
    entry["voice"] = done["voice"];
    entry["weights_bytes"] = done["weights_bytes"];
    entry["peak_memory_bytes"] = done["peak_memory_bytes"];
    report["stages"].push_back({{"name", subject.name}, {"seconds", done["seconds"]}});
    if (!config.neutral.text.empty()) {
      entry["perplexity"] = journal.row(subject.name + "/neutral")["perplexity"];
      entry["kl"] = journal.row(subject.name + "/neutral")["kl"];
    }
    if (const Json changes = changes_of(subject); !changes.is_null()) report["changes"].push_back(changes);
    gates.emplace_back(subject.name, subject.gates);
  }
  return audit::with_gates(std::move(report), gates);
}

void write_report(const fs::path& folder, const Json& report) {
  const report::Document document = audit::audit_document(report);
  write_atomically(folder / "report.json", to_text(report));
  write_atomically(folder / "report.md", report::to_markdown(document));
  write_atomically(folder / "report.html", report::to_html(document));
  report::write_charts(document, folder);
}

void print_report(const fs::path& folder, const Json& report) {
  emit(report::to_text(audit::subjects_table(report)));
  emit(fmt::format("{}\n{}", report["verdict_text"].get<std::string>(), (folder / "report.html").string()));
}

std::string digest_of(const AuditConfig& config, const Suites& suites, const model::LoadOptions& options) {
  Sha256 digest;
  digest.update(config::resolved(config).dump())
      .update(suites.harmful.digest)
      .update(suites.harmless.digest)
      .update(c10::toString(options.dtype));
  for (const SubjectConfig& subject : config.subjects) {
    digest.update(model::Checkpoint::open(subject.model).digest());
    for (const fs::path& file : {subject.plan, subject.guide})
      if (!file.empty()) digest.update(read_text(file, Code::kConfig));
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
      {"date in templates", "2026-01-01"},
      {"digest", digest}};
}

int run_audit(const Invocation& invocation) {
  const auto config = load_config<AuditConfig>(invocation);
  Suites suites = read_suites(config.suite);
  for (const fs::path& file : {config.facts, config.neutral.text})
    if (!file.empty()) require_exists(file, "data", Code::kData);
  if (invocation.common.check) return 0;
  for (const SubjectConfig& subject : config.subjects) require_exists(subject.model, "model", Code::kModel);
  const Stopwatch watch;
  const fs::path out = invocation.out();
  const model::LoadOptions options = load_options(invocation);
  const std::string digest = digest_of(config, suites, options);
  if (invocation.common.dry_run) {
    emit(fmt::format("{} subjects x {} prompts", config.subjects.size(),
                     suites.harmful.prompts.size() + suites.harmless.prompts.size()));
    return 0;
  }
  audit::Journal journal(out / "responses.jsonl", "audit", digest, invocation.common.force);
  if (journal.resumed() > 0) spdlog::info("going on after {} rows", journal.resumed());
  const Json settings = settings_of(config, suites, digest);
  AuditRun run(config, std::move(suites), options, journal);
  for (const SubjectConfig& subject : config.subjects) run.run(subject);
  const Json report = make_report(config, journal, settings);
  write_report(out, report);
  Json manifest = {{"tool", "suture audit run"},         {"environment", environment()},
                   {"config", config::resolved(config)}, {"digest", digest},
                   {"seconds", watch.seconds()},         {"peak_memory_bytes", peak_rss_bytes()},
                   {"subjects", Json::object()}};
  for (const SubjectConfig& subject : config.subjects)
    manifest["subjects"][subject.name] = model_record(model::Checkpoint::open(subject.model));
  write_atomically(out / "manifest.json", to_text(manifest));
  if (invocation.common.json)
    emit(report);
  else
    print_report(out, report);
  return int(audit::exit_code(report));
}

int run_render(const Invocation& invocation) {
  const fs::path folder = invocation.positional(0, "DIR");
  const Json report = read_json(folder / "report.json");
  write_report(folder, report);
  if (invocation.common.json)
    emit(report);
  else
    print_report(folder, report);
  return int(audit::exit_code(report));
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
