// SPDX-License-Identifier: Apache-2.0
// The numbers of one model, read from config.json through the family table. Old and new spellings are read
// (rope_scaling / rope_parameters, torch_dtype / dtype, nested text_config); null means absent; a key that changes the
// maths and is not understood is refused by name.
#pragma once
#include <set>

#include "model/family.h"

namespace suture::model {

enum class RopeKind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope };

struct Rope {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  int64_t dim = 0;                                   // rotated numbers of a head; the others pass
  double factor = 1;                                 // every kind but default and longrope
  double original_context = 0;                       // dynamic: max_position_embeddings
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: ends of the ramp at whole dimensions
  double attention_factor = 1;                       // yarn, longrope: on cosines and sines
  std::vector<double> short_factor, long_factor;     // longrope, one a rotated pair
};

// One block.
struct LayerConfig {
  int64_t window = 0;   // a query sees so many last tokens, itself included; 0: all
  int rope = 0;         // index into ModelConfig::ropes; -1: no positions
  bool sparse = false;  // experts instead of one MLP
};

struct ModelConfig {
  const FamilySpec* family = nullptr;
  Traits traits;
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, hidden = 0, vocab = 0, context = 0;
  double eps = 1e-5;
  Activation activation = Activation::kSilu;
  std::vector<Rope> ropes;
  std::vector<LayerConfig> layer;
  bool tied = false, attention_bias = false, mlp_bias = false;

  double attention_scale = 0;               // on q·k; 0: 1/√head_dim
  double attention_cap = 0, logit_cap = 0;  // x → c·tanh(x/c); 0: none
  double clip_qkv = 0;                      // 0: none
  double embed_scale = 1, residual_scale = 1, logit_scale = 1;
  double swiglu_limit = 0, swiglu_alpha = 0;  // of Activation::kClampedSwiglu
  int64_t parallel_norms = 1;                 // of a parallel block: one for both branches, or two
  int64_t experts = 0, top_experts = 0, expert_hidden = 0, shared_hidden = 0;
  std::string dtype;  // as the config spells it, may be empty

  int64_t group() const { return heads / kv_heads; }  // query heads a key/value head
  double scale() const;                               // on q·k
  bool windowed() const;                              // whether any layer has a window
  bool rotates_by_length() const;                     // whether a text's length changes the rotation of its tokens
};

// Throws Error(kModel) naming the key and value.
ModelConfig read_config(const Json& json, const std::string& origin);

// A config's keys with their types checked. Remembers what was asked for, so that what nobody asked for can be refused.
class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string origin) : json_(json), origin_(std::move(origin)) {}
  const Json* find(std::string_view key) const;  // nullptr when absent or null
  bool names(std::string_view key) const;        // present, null included
  double number_or(std::string_view key, double fallback) const;
  int64_t count_or(std::string_view key, int64_t fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  std::vector<double> numbers(std::string_view key) const;  // empty when absent
  double required_number(std::string_view key) const;
  int64_t required_count(std::string_view key) const;
  const std::string& origin() const { return origin_; }
  bool asked(const std::string& key) const { return asked_.contains(key); }
  const Json& json() const { return json_; }

 private:
  const Json& json_;
  std::string origin_;
  mutable std::set<std::string> asked_;
};

// For configure(): one rotation read from a rope section (null: the config's own, old or new spelling).
// `default_partial` is the share of a head that rotates when the config does not say; 0: this family rotates all of it.
Rope read_rope(const ConfigReader& top, const ModelConfig& config, const Json* section, double default_theta,
               double default_partial = 0);
// Windows and kinds of layers from `layer_types`, or `slides(layer)` where the key is absent.
void set_windows(const ConfigReader& read, ModelConfig& config, int64_t window, bool (*slides)(int64_t layer));

}  // namespace suture::model
