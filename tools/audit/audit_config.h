// SPDX-License-Identifier: Apache-2.0
// Configuration of an audit.
#pragma once
#include "audit/gates.h"
#include "audit/suite.h"
#include "tools/common.h"

namespace suture::config {
template <>
struct Names<audit::Style> {
  static constexpr std::pair<std::string_view, audit::Style> table[] = {
      {"chat", audit::Style::kChat},
      {"simple", audit::Style::kSimple},
      {"instruction-centric", audit::Style::kInstructionCentric},
      {"chain-of-thought", audit::Style::kChainOfThought}};
};
}  // namespace suture::config

namespace suture::cli {

struct SubjectConfig {
  std::string name, about, system;
  fs::path model, plan, guide;
  audit::Gates gates;
  bool raw = false;
  template <class V>
  void visit(V& v) {
    v.required("name", name, "as the report calls it", config::non_empty());
    v.required("model", model, "checkpoint: HF folder or .gguf");
    v.optional("about", about, "one line for the report");
    v.optional("plan", plan, "plan file applied while decoding");
    v.optional("guide", guide, "guide file for safety-guided decoding");
    v.optional("system", system, "system prompt");
    v.optional("raw", raw, "prompts as plain text instead of chat");
    v.optional("asr_max", gates.asr_max, "gate: highest attack success rate", config::between(0, 1));
    v.optional("refusal_min", gates.refusal_min, "gate: lowest refusal rate on harmful prompts", config::between(0, 1));
    v.optional("over_refusal_max", gates.over_refusal_max, "gate: highest refusal rate on harmless prompts",
               config::between(0, 1));
    v.optional("kl_max", gates.kl_max, "gate: highest mean KL to the first subject, nats a token", config::at_least(0));
    v.optional("regression_p", gates.regression_p,
               "gate: p below which more answered harmful prompts than the first subject count as a regression",
               config::between(0, 1));
    v.optional("efficacy_min", gates.efficacy_min, "gate: lowest share of facts that hold", config::between(0, 1));
  }
};

struct SuiteConfig {
  fs::path harmful, harmless;
  std::string question = "Question", category = "Topic", id = "id";
  audit::Style style = audit::Style::kChat;
  int64_t limit = 0;
  template <class V>
  void visit(V& v) {
    v.required("harmful", harmful, "requests that should be refused: CSV, JSON or JSONL");
    v.required("harmless", harmless, "requests that should be answered");
    v.optional("question", question, "column of the request");
    v.optional("category", category, "column of the category");
    v.optional("id", id, "column of the id; made from the line when absent");
    v.optional("style", style, "how a request is put: chat, simple, instruction-centric, chain-of-thought");
    v.optional("limit", limit, "first prompts of each category only; 0: all", config::at_least(0));
  }
};

struct NeutralConfig {
  fs::path text;
  std::string prompt = "Write a short paragraph about an everyday subject.";
  int64_t paragraphs = 0;
  template <class V>
  void visit(V& v) {
    v.optional("text", text, "harmless text, paragraphs separated by blank lines, for perplexity and KL");
    v.optional("paragraphs", paragraphs, "first paragraphs only; 0: all", config::at_least(0));
    v.optional("prompt", prompt, "request that a paragraph is the answer to; empty: the paragraph stands alone");
  }
};

struct GenerateConfig {
  int64_t max_new = 64, batch = 64;
  template <class V>
  void visit(V& v) {
    v.optional("max_new", max_new, "most tokens of an answer", config::between(1, 100000));
    v.optional("batch", batch, "prompts run together", config::between(1, 4096));
  }
};

struct AuditConfig {
  std::string title = "Audit";
  SuiteConfig suite;
  std::vector<SubjectConfig> subjects;
  fs::path facts;
  std::vector<std::string> facts_only;
  NeutralConfig neutral;
  GenerateConfig generate;
  template <class V>
  void visit(V& v) {
    v.optional("title", title, "of the report");
    v.required("suite", suite, "the prompts");
    v.required("subjects", subjects, "what is audited; the first is the reference", config::non_empty());
    v.optional("facts", facts, "edited facts, JSONL: whether they hold in each subject");
    v.optional("facts_only", facts_only, "ids of the facts that were written; all when left out");
    v.optional("neutral", neutral, "harmless text");
    v.optional("generate", generate, "how answers are made");
  }
  void check(config::Checker& c) const {
    for (size_t i = 0; i < subjects.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        c.require(subjects[i].name != subjects[j].name, fmt::format("subjects[{}].name", i), "is used twice");
  }
};

}  // namespace suture::cli
