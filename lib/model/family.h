// SPDX-License-Identifier: Apache-2.0
// What a model family is: answers to the forward pass's questions, the names of its config keys, and where each logical
// weight lies in a checkpoint file. The table in family_table.cpp is the only place that names a family.
//
// To add a family that needs no new trait: add a FamilySpec there and a line to tests/oracle/make_model_fixtures.py.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/json.h"

namespace suture::model {

enum class Norm { kLayer, kRms };
enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };
enum class Position { kRope, kLearned };

struct Traits {
  Norm norm;
  bool gated;  // MLP is act(gate)·up, else act(up)
  Position position;
};

// Logical weights. Matrices are [out, in] when seen through `logical_view`, whatever the file's layout.
enum class Part {
  kEmbed,
  kPositions,
  kNormFinal,
  kNormFinalBias,
  kHead,  // once a model
  kNormAttn,
  kNormAttnBias,
  kQ,
  kQBias,
  kK,
  kKBias,
  kV,
  kVBias,
  kO,
  kOBias,  // once a layer
  kNormMlp,
  kNormMlpBias,
  kGate,
  kGateBias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
};
std::string_view name(Part part);  // "embed", "attn.q", "mlp.down", ...
inline bool per_layer(Part part) { return part >= Part::kNormAttn; }

enum class Layout { kOutIn, kInOut };                                // as the file stores a matrix
enum class Slice { kWhole, kFirstThird, kSecondThird, kLastThird };  // of the out axis
enum class Need { kAlways, kUnlessTied, kIfAttentionBias, kIfMlpBias };

struct TensorRule {
  Part part;
  std::string_view name;  // in an HF folder; "{}" is the layer
  std::string_view gguf;  // in a GGUF file, without ".weight"/".bias" of `name`'s ending
  Need need = Need::kAlways;
  Layout layout = Layout::kOutIn;
  Slice slice = Slice::kWhole;
  bool rope_permuted_in_gguf = false;  // rows of each head reordered for interleaved rotation
};

// A key that the table reads: its HF spelling, its GGUF spelling (after the architecture's prefix), and the value of an
// absent key (empty: required).
struct ConfigKey {
  std::string_view hf;
  std::string_view gguf;
  std::string_view fallback;
};

struct ConfigKeys {
  ConfigKey layers, width, heads, kv_heads, head_dim, hidden, context, eps;
};

struct FamilySpec {
  std::string_view name;
  std::string_view class_name;  // "architectures" entry written by convert
  std::span<const std::string_view> model_types;
  std::span<const std::string_view> gguf_architectures;
  Traits traits;
  ConfigKeys keys;
  std::string_view activation_key;       // config key of the activation
  std::string_view default_activation;   // when the key is absent
  std::string_view attention_bias_flag;  // config key that switches q/k/v/o biases; empty: they are always there
  std::string_view mlp_bias_flag;        // likewise for the MLP
  std::span<const TensorRule> rules;
  std::string_view prefix;                            // of tensor names; checkpoints without it are accepted too
  std::span<const std::string_view> ignored_tensors;  // buffers that are recomputed; "{}" is the layer
  bool ties_by_default;
  int64_t window_when_absent = 0;  // sliding window of a config that does not mention it; 0: none
  std::string_view baking_note;    // which engines honour added biases
};

std::span<const FamilySpec* const> families();
const FamilySpec* family_for_type(std::string_view model_type);    // nullptr when unknown
const FamilySpec* family_for_gguf(std::string_view architecture);  // nullptr when unknown
std::string family_types();                                        // for messages
const TensorRule* rule_of(const FamilySpec& family, Part part);    // nullptr when the family has no such part

// "model.layers.{}.mlp.down_proj.weight", 3 → "model.layers.3.mlp.down_proj.weight"
std::string with_layer(std::string_view pattern, int64_t layer);

// The logical weight inside a file's tensor: [out, in] or [out], a view that writes through.
at::Tensor logical_view(const at::Tensor& file_tensor, const TensorRule& rule);

}  // namespace suture::model
