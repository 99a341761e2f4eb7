// SPDX-License-Identifier: Apache-2.0
#include "tools/audit/audit_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>

#include "audit/judge.h"
#include "audit/statistics.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "decode/score.h"
#include "steps/evaluate_edit.h"
#include "steps/second_moment.h"

namespace suture::cli {
namespace {

using Texts = std::vector<decode::ScoreText>;

audit::Suite limited(audit::Suite suite, int64_t limit) {
  if (limit == 0) return suite;
  std::map<std::string, int64_t> seen;
  std::erase_if(suite.prompts, [&](const audit::Prompt& prompt) { return ++seen[prompt.category] > limit; });
  return suite;
}

std::vector<std::string> neutral_paragraphs(const NeutralConfig& config) {
  if (config.text.empty()) return {};
  std::vector<std::string> all = steps::paragraphs(read_text(config.text, Code::kData));
  if (config.paragraphs > 0) all.resize(std::min(all.size(), size_t(config.paragraphs)));
  return all;
}

std::string row_id(const std::string& subject, audit::SuiteKind kind, const std::string& prompt) {
  return fmt::format("{}/{}/{}", subject, audit::name(kind), prompt);
}

// As LanguageModel::load, from a checkpoint that is open.
decode::LanguageModel load_weights(model::Checkpoint checkpoint, const model::LoadOptions& options) {
  spdlog::info("loading {}", checkpoint.path().string());
  model::Transformer transformer = model::Transformer::load(checkpoint, options);
  std::optional<text::Tokenizer> tokenizer = decode::make_tokenizer(checkpoint);
  std::optional<text::ChatTemplate> chat = decode::make_chat_template(checkpoint);
  std::vector<int32_t> stops = decode::stop_ids(checkpoint, tokenizer);
  return {std::move(checkpoint), std::move(transformer), std::move(tokenizer), std::move(chat), std::move(stops)};
}

// What decode::compare would say of the reference itself, from the final states that are kept of it anyway.
decode::Divergence compare_to_itself(const model::Transformer& model, const Texts& texts,
                                     const decode::Reference& reference) {
  constexpr int64_t kPositions = 128;  // of logits held at once
  const at::NoGradGuard no_grad;
  decode::Divergence result;
  for (size_t i = 0; i < texts.size(); ++i) {
    const int64_t last = int64_t(texts[i].ids.size()) - 1;
    for (int64_t t = std::max<int64_t>(texts[i].context, 1) - 1; t < last; t += kPositions) {
      const int64_t count = std::min(kPositions, last - t);
      const at::Tensor log_p =
          at::log_softmax(model.head(reference.hidden_TD[i].narrow(0, t, count)).to(at::kFloat), -1).cpu();
      for (int64_t k = 0; k < count; ++k)
        result.nll.push_back(-double(log_p[k][texts[i].ids[size_t(t + k + 1)]].item<float>()));
    }
  }
  result.kl.assign(result.nll.size(), 0);
  return result;
}

class AuditRun {
 public:
  AuditRun(const AuditConfig& config, const Suites& suites, const model::LoadOptions& options, audit::Journal& journal)
      : config_(config),
        suites_(suites),
        options_(options),
        journal_(journal),
        facts_(chosen_facts(config)),
        paragraphs_(neutral_paragraphs(config.neutral)) {}

  void run(Speakers speakers) {
    bool needed = false;
    for (const SubjectConfig* subject : speakers.subjects) {
      needed = needed || !complete(*subject) || gives_reference(*subject);
      if (complete(*subject)) spdlog::info("{}: already complete", subject->name);
    }
    if (!needed) return;
    const decode::LanguageModel model = load_weights(std::move(speakers.checkpoint), options_);
    for (const SubjectConfig* subject : speakers.subjects) {
      const Stopwatch watch;
      if (gives_reference(*subject)) reference_ = decode::make_reference(model.transformer, neutral_texts(model));
      if (!complete(*subject)) run(*subject, model, watch);
    }
  }

 private:
  bool complete(const SubjectConfig& subject) const { return journal_.done(subject.name + "/done"); }

  // The first subject's model is what the others are compared to; nothing of it is kept from an earlier run.
  bool gives_reference(const SubjectConfig& subject) const {
    return &subject == &config_.subjects.front() && !paragraphs_.empty() &&
           std::any_of(config_.subjects.begin(), config_.subjects.end(),
                       [&](const SubjectConfig& s) { return !journal_.done(s.name + "/neutral"); });
  }

  void run(const SubjectConfig& subject, const decode::LanguageModel& model, const Stopwatch& watch) {
    Voice voice = make_voice(model, {subject.plan, subject.guide, subject.system, subject.raw});
    for (const audit::SuiteKind kind : {audit::SuiteKind::kHarmful, audit::SuiteKind::kHarmless})
      ask(subject, kind, model, voice);
    measure_neutral(subject, model, voice);
    measure_facts(subject, model, voice);
    finish(subject, model, voice, watch.seconds());
  }

  std::vector<const audit::Prompt*> waiting(const SubjectConfig& subject, audit::SuiteKind kind) const {
    std::vector<const audit::Prompt*> list;
    for (const audit::Prompt& prompt : suites_.of(kind).prompts)
      if (!journal_.done(row_id(subject.name, kind, prompt.id))) list.push_back(&prompt);
    return list;
  }

  void ask(const SubjectConfig& subject, audit::SuiteKind kind, const decode::LanguageModel& model, Voice& voice) {
    const std::vector<const audit::Prompt*> asked = waiting(subject, kind);
    if (asked.empty()) return;
    std::vector<decode::Prompt> prompts;
    for (const audit::Prompt* prompt : asked)
      prompts.push_back(voice.prompt(audit::styled(config_.suite.style, prompt->text)));
    decode::GenerateOptions options;
    options.max_new = config_.generate.max_new;
    options.batch = config_.generate.batch;
    options.stop_ids = model.stop_ids;
    Progress progress(fmt::format("{}, {}", subject.name, audit::name(kind)), int64_t(asked.size()), "prompts");
    decode::generate(*voice.next, prompts, options, [&](size_t i, const decode::Completion& completion) {
      journal_.append(answer_row(subject, kind, *asked[i], completion, model.decode(completion.ids)));
      progress.advance();
    });
    journal_.sync();
  }

  static Json answer_row(const SubjectConfig& subject, audit::SuiteKind kind, const audit::Prompt& prompt,
                         const decode::Completion& completion, const std::string& text) {
    const bool cut = completion.finish == decode::Finish::kLength;
    const audit::Verdict verdict = audit::judge_lexically({prompt.text, text, cut});
    return {{"id", row_id(subject.name, kind, prompt.id)},
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
            {"rule", verdict.rule}};
  }

  // Paragraphs as answers to the neutral prompt: with a plan, the prompt is where a gate reads and a vector starts.
  Texts neutral_texts(const decode::LanguageModel& model) const {
    std::vector<int32_t> context;
    if (!config_.neutral.prompt.empty() && model.chat_template) context = model.chat_ids(config_.neutral.prompt);
    Texts texts;
    for (const std::string& paragraph : paragraphs_) {
      decode::ScoreText text{context, std::max<int64_t>(1, int64_t(context.size()))};
      const std::vector<int32_t> ids =
          context.empty() ? model.encode(paragraph).ids : model.words().encode(paragraph).ids;
      text.ids.insert(text.ids.end(), ids.begin(), ids.end());
      texts.push_back(std::move(text));
    }
    return texts;
  }

  void measure_neutral(const SubjectConfig& subject, const decode::LanguageModel& model, const Voice& voice) {
    const std::string id = subject.name + "/neutral";
    if (paragraphs_.empty() || journal_.done(id)) return;
    const Texts texts = neutral_texts(model);
    const bool itself = &subject == &config_.subjects.front() && voice.plan->empty();
    const decode::Divergence d = itself ? compare_to_itself(model.transformer, texts, *reference_)
                                        : decode::compare(model.transformer, texts, voice.plan.get(), &*reference_);
    Stream stream(1, "audit/neutral");
    journal_.append({{"id", id},
                     {"perplexity", d.perplexity()},
                     {"kl", audit::to_json(audit::bootstrap_mean(d.kl, stream))},
                     {"tokens", d.nll.size()}});
  }

  void measure_facts(const SubjectConfig& subject, const decode::LanguageModel& model, const Voice& voice) {
    const std::string id = subject.name + "/facts";
    if (facts_.facts.empty() || journal_.done(id)) return;
    Json states = Json::array();
    for (const steps::FactState& state : steps::measure_facts(model, facts_.facts, voice.plan.get(), 0))
      states.push_back(steps::to_json(state));
    journal_.append({{"id", id}, {"states", std::move(states)}});
  }

  void finish(const SubjectConfig& subject, const decode::LanguageModel& model, const Voice& voice, double seconds) {
    journal_.append({{"id", subject.name + "/done"},
                     {"seconds", seconds},
                     {"voice", voice.to_json()},
                     {"weights_bytes", model.transformer.weight_bytes()},
                     {"dtype", c10::toString(model.transformer.dtype())},
                     {"peak_memory_bytes", peak_rss_bytes()}});
    journal_.sync();
  }

  const AuditConfig& config_;
  const Suites& suites_;
  const model::LoadOptions options_;
  audit::Journal& journal_;
  const steps::Facts facts_;
  const std::vector<std::string> paragraphs_;
  std::optional<decode::Reference> reference_;
};

}  // namespace

Suites read_suites(const SuiteConfig& config) {
  const audit::SuiteColumns columns{config.question, config.category, config.id};
  return {limited(audit::read_suite(config.harmful, columns, "harmful"), config.limit),
          limited(audit::read_suite(config.harmless, columns, "harmless"), config.limit)};
}

steps::Facts chosen_facts(const AuditConfig& config) {
  if (config.facts.empty()) return {};
  steps::Facts facts = steps::read_facts(config.facts);
  facts.facts = steps::chosen_facts(facts, config.facts_only);
  return facts;
}

std::vector<Speakers> open_checkpoints(const std::vector<SubjectConfig>& subjects) {
  std::vector<Speakers> all;
  for (const SubjectConfig& subject : subjects) {
    require_exists(subject.model, "model", Code::kModel);
    auto speakers = std::find_if(all.begin(), all.end(),
                                 [&](const Speakers& s) { return fs::equivalent(s.checkpoint.path(), subject.model); });
    if (speakers == all.end()) {
      model::Checkpoint checkpoint = model::Checkpoint::open(subject.model);
      Json record = model_record(checkpoint);
      all.push_back({std::move(checkpoint), std::move(record), {}});
      speakers = std::prev(all.end());
    }
    speakers->subjects.push_back(&subject);
  }
  return all;
}

Json records_of(const std::vector<Speakers>& all) {
  Json records = Json::object();
  for (const Speakers& speakers : all)
    for (const SubjectConfig* subject : speakers.subjects) records[subject->name] = speakers.record;
  return records;
}

void ask_subjects(const AuditConfig& config, const Suites& suites, std::vector<Speakers> all,
                  const model::LoadOptions& options, audit::Journal& journal) {
  AuditRun run(config, suites, options, journal);
  for (Speakers& speakers : all) run.run(std::move(speakers));
}

}  // namespace suture::cli
