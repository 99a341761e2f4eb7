// SPDX-License-Identifier: Apache-2.0
// Configuration that the edit commands share.
#pragma once
#include "methods/rome.h"
#include "steps/facts.h"
#include "tools/common.h"

namespace suture::cli {

enum class MomentSource { kSelf, kText, kNone };
enum class EditMethod { kRRome, kRome };

}  // namespace suture::cli

namespace suture::config {

template <>
struct Names<cli::MomentSource> {
  static constexpr std::pair<std::string_view, cli::MomentSource> table[] = {
      {"self", cli::MomentSource::kSelf}, {"text", cli::MomentSource::kText}, {"none", cli::MomentSource::kNone}};
};
template <>
struct Names<cli::EditMethod> {
  static constexpr std::pair<std::string_view, cli::EditMethod> table[] = {{"r-rome", cli::EditMethod::kRRome},
                                                                           {"rome", cli::EditMethod::kRome}};
};

}  // namespace suture::config

namespace suture::cli {

struct MomentConfig {
  MomentSource source = MomentSource::kSelf;
  fs::path text;
  fs::path store;
  int64_t tokens = 5000, length = 96;
  double ridge = 1e-4;
  uint64_t seed = 1;

  template <class V>
  void visit(V& v) {
    v.optional("source", source, "where keys come from: self (the model writes text), text (a file), none (C = I)");
    v.optional("text", text, "file for source text: .txt paragraphs, or a data set with a column 'text'");
    v.optional("store", store, "second-moments store (.h5) to read and fill; nothing is kept when left out");
    v.optional("tokens", tokens, "tokens to count", config::at_least(1));
    v.optional("length", length, "longest text in tokens", config::between(2, 4096));
    v.optional("ridge", ridge, "added to C, as a share of its mean diagonal", config::between(0, 1));
    v.optional("seed", seed, "of the text the model writes");
  }
  void check(config::Checker& c) const {
    c.require((source == MomentSource::kText) != text.empty(), "text", "must be given for source 'text' and only then");
  }
};

struct ContextConfig {
  std::vector<int64_t> lengths = {5, 10};
  int64_t count = 10;
  template <class V>
  void visit(V& v) {
    v.optional("lengths", lengths, "tokens of the texts put in front of the prompt", config::between(1, 100));
    v.optional("count", count, "texts of each length", config::between(0, 100));
  }
};

struct EditConfig {
  fs::path model, facts;
  std::vector<std::string> only;
  EditMethod method = EditMethod::kRRome;
  int64_t layer = 0, steps = 25;
  double learning_rate = 0.5, weight_decay = 0.5, clamp = 4, kl_factor = 0.0625, loss_stop = 0.05;
  ContextConfig contexts;
  MomentConfig moment;
  uint64_t seed = 1;
  int64_t generate = 100;

  template <class V>
  void visit(V& v) {
    v.required("model", model, "checkpoint to edit: HF folder or .gguf");
    v.required("facts", facts, "facts to write, JSONL");
    v.optional("only", only, "ids of the facts to take; all when left out");
    v.optional("method", method, "r-rome or rome");
    v.required("layer", layer, "0-based block whose MLP is edited", config::at_least(0));
    v.optional("steps", steps, "evaluations of the loss", config::between(1, 1000));
    v.optional("learning_rate", learning_rate, "of Adam", config::between(1e-6, 100));
    v.optional("weight_decay", weight_decay, "of the value's norm", config::between(0, 100));
    v.optional("clamp", clamp, "largest change of the value, in norms of the old one", config::between(0.01, 100));
    v.optional("kl_factor", kl_factor, "weight of keeping what the subject is", config::between(0, 100));
    v.optional("loss_stop", loss_stop, "loss that is good enough", config::between(0, 100));
    v.optional("contexts", contexts, "texts in front of the prompt, sampled from the model");
    v.optional("moment", moment, "second moment of the keys");
    v.optional("seed", seed, "of the sampled contexts");
    v.optional("generate", generate, "tokens of free text for the n-gram entropy; 0: none", config::between(0, 1000));
  }
};

// The factorised second moment for a layer, from the store or made now; null for source none. `record` says which.
std::unique_ptr<tensor::SpdSolver> moment_for(const decode::LanguageModel& model, int64_t layer,
                                              const MomentConfig& config, Json& record);

}  // namespace suture::cli
