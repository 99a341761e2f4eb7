// SPDX-License-Identifier: Apache-2.0
// What the commands share: device and dtype flags, plan and guide files, and records of where a result came from.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "decode/language_model.h"
#include "hook/plan.h"
#include "tools/cli.h"

namespace suture::config {

template <>
struct Names<hook::Site> {
  static constexpr std::pair<std::string_view, hook::Site> table[] = {
      {"embed", hook::Site::kEmbed},         {"head_out", hook::Site::kHeadOut}, {"attn_out", hook::Site::kAttnOut},
      {"mlp_key", hook::Site::kMlpKey},      {"mlp_out", hook::Site::kMlpOut},   {"resid_out", hook::Site::kResidOut},
      {"final_norm", hook::Site::kFinalNorm}};
};

template <>
struct Names<hook::Action> {
  static constexpr std::pair<std::string_view, hook::Action> table[] = {{"add", hook::Action::kAdd},
                                                                        {"set", hook::Action::kSet},
                                                                        {"project_out", hook::Action::kProjectOut},
                                                                        {"to_norm", hook::Action::kToNorm}};
};

}  // namespace suture::config

namespace suture::cli {

// ---- flags and records

// --device and --dtype. "auto" gives `fallback`, or else the device's fastest. CUDA is loaded here, when asked for:
// Error(kResource) when it cannot be.
model::LoadOptions load_options(const Invocation& invocation, std::optional<at::ScalarType> fallback = std::nullopt);

Json environment();  // {"suture", "libtorch", "cpu", "threads"}
Json model_record(
    const model::Checkpoint& checkpoint);  // {"path", "digest", "family", "dtypes"}; reads the whole model once
int64_t peak_rss_bytes();                  // of this process so far

// For commands without a configuration file: refuses --set.
void require_no_set(const Invocation& invocation);
// For commands whose result is one JSON value. --out FILE is optional there; Error(kUsage) when FILE exists, without
// --force. Call it before the work.
void require_new_file(const Invocation& invocation);
// Writes `json` to --out when given; prints it under --json, else prints `text`.
void give(const Invocation& invocation, const Json& json, const std::string& text);

// Error(kData) when `ids` is empty, holds an id that the vocabulary lacks, or does not fit the learned positions
// together with `more` further tokens. `what` names the text: "prompt 3".
void require_ids(const std::vector<int32_t>& ids, const model::ModelConfig& config, int64_t more,
                 std::string_view what);

// The command's configuration with paths made relative to its file.
template <class T>
T load_config(const Invocation& invocation, size_t index = 0) {
  const config::Source source = invocation.source(index);
  T config = config::load<T>(source);
  config::resolve_paths(config, source.folder);
  return config;
}

// ---- plan files

// How one stored vector is used. What is left out is what the store recommends.
struct VectorUse {
  fs::path vector;
  std::string name;
  std::optional<hook::Site> site;
  std::optional<int64_t> layer;
  std::optional<std::string> tokens;
  hook::Action action = hook::Action::kAdd;
  std::optional<double> scale;

  template <class V>
  void visit(V& v) {
    v.required("vector", vector, "vector store (.h5)", config::non_empty());
    v.required("name", name, "vector in the store", config::non_empty());
    v.optional("site", site, "where it acts; the stored site when left out");
    v.optional("layer", layer, "0-based block; the stored one when left out", config::at_least(0));
    v.optional("tokens", tokens,
               "all, last, last+N, step N, prompt, generated or index N[,N...]; the stored ones when left out");
    v.optional("action", action, "add, set, project_out or to_norm");
    v.optional("scale", scale, "multiplier; the stored one when left out");
  }
  void check(config::Checker& checker) const;
};

// A probe that decides a prompt at a time. The stored vector's attributes hold "bias" and "threshold".
struct GateUse {
  fs::path vector;
  std::string name;
  std::optional<double> threshold;

  template <class V>
  void visit(V& v) {
    v.required("vector", vector, "vector store (.h5)", config::non_empty());
    v.required("name", name, "probe in the store", config::non_empty());
    v.optional("threshold", threshold, "score above which the plan acts; the stored one when left out");
  }
};

struct PlanFile {
  std::vector<VectorUse> interventions;
  std::optional<GateUse> gate;

  template <class V>
  void visit(V& v) {
    v.required("interventions", interventions, "applied in order", config::non_empty());
    v.optional("gate", gate, "acts only on prompts that the probe picks");
  }
};

// Reads the vectors that `file` names; its paths are already resolved. Error(kData) from the stores.
hook::Plan make_plan(const PlanFile& file, const model::Checkpoint* origin = nullptr);
// Reads a plan file. With a transformer the plan must fit it (kModel). With a checkpoint, a store that was made from
// another one is warned about: edited models differ from their origin, so that is no error.
hook::Plan read_plan(const fs::path& yaml, const model::Transformer* check_against = nullptr,
                     const model::Checkpoint* origin = nullptr);

// ---- guide files: safety-guided decoding

struct GuideFile {
  double lambda = 0.99;
  fs::path harmful_model;      // exactly one of the two
  std::string harmful_prompt;  // system prompt under which the model itself plays the harmful one

  template <class V>
  void visit(V& v) {
    v.optional("lambda", lambda, "strength of the veto", config::half_open(0, 1));
    v.optional("harmful_model", harmful_model, "checkpoint with the same vocabulary");
    v.optional("harmful_prompt", harmful_prompt, "system prompt that makes the model itself the harmful one");
  }
  void check(config::Checker& checker) const {
    checker.require(harmful_model.empty() != harmful_prompt.empty(), "harmful_model",
                    "or 'harmful_prompt' must be given, and not both");
  }
};
GuideFile read_guide(const fs::path& yaml);

// ---- a model as it speaks: under a plan, a guide, a system prompt

struct VoiceSettings {
  fs::path plan, guide;  // YAML files; empty: none
  std::string system;
  bool raw = false;  // prompts are plain text, not chat
};

// Owns what `next` and `prompt` refer to, except the model it was made for, which must outlive it. Movable.
struct Voice {
  std::unique_ptr<const hook::Plan> plan;  // never null, may be empty
  std::optional<GuideFile> guide;
  std::unique_ptr<decode::LanguageModel> other;  // the harmful model when it is another checkpoint
  std::unique_ptr<decode::NextToken> next;
  std::function<decode::Prompt(const std::string& user)> prompt;

  Json to_json() const;  // {"plan", "guide"}, null where absent
};

// A harmful model is loaded with the dtype and device of `model`. Error(kModel) when the two do not share a vocabulary.
Voice make_voice(const decode::LanguageModel& model, const VoiceSettings& settings);

}  // namespace suture::cli
