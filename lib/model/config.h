// SPDX-License-Identifier: Apache-2.0
// The numbers of one model, read from config.json through the family table. Old and new spellings are read
// (rope_scaling / rope_parameters, torch_dtype / dtype); null means absent; a key that changes the maths and is not
// understood is refused by name.
#pragma once
#include "model/family.h"

namespace suture::model {

enum class RopeKind { kDefault, kLinear, kLlama3 };

struct Rope {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double original_context = 0;                       // llama3
};

struct ModelConfig {
  const FamilySpec* family = nullptr;
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, hidden = 0, vocab = 0, context = 0;
  double eps = 1e-5;
  Activation activation = Activation::kSilu;
  Rope rope;
  bool tied = false, attention_bias = false, mlp_bias = false;
  std::string dtype;  // as the config spells it, may be empty

  int64_t group() const { return heads / kv_heads; }  // query heads a key/value head
};

// Throws Error(kModel) naming the key and value.
ModelConfig read_config(const Json& json, const std::string& origin);

}  // namespace suture::model
