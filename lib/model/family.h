// SPDX-License-Identifier: Apache-2.0
// What a model family is: answers to the forward pass's questions, the names of its config keys, and where each logical
// weight lies in a checkpoint file. The family_*.cpp files are the only places that name a family; family_table.cpp
// lists them.
//
// To add a family that needs no new trait: add a FamilySpec there and a line to tests/oracle/make_model_fixtures.py.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace suture::model {

struct ModelConfig;
class ConfigReader;

enum class Norm {
  kLayer,       // (x − mean)/σ · w + b
  kPlain,       // (x − mean)/σ
  kRms,         // x/rms · w
  kRmsPlusOne,  // x/rms · (1 + w)
};
enum class Placement {
  kBefore,  // a block's norms stand before attention and MLP
  kAfter,   // on their outputs, before the residual add
  kAround,  // both
};
enum class Position { kRope, kLearned, kAlibi };
enum class QkNorm { kNone, kHead, kWhole };  // of queries and keys: each head by itself, or all heads as one vector
enum class Activation { kSilu, kGelu, kGeluTanh, kRelu, kClampedSwiglu };
enum class Routing {
  kSoftmaxThenTop,      // weights are the chosen experts' softmax over all experts
  kSoftmaxThenTopNorm,  // the same, divided by their sum
  kTopThenSoftmax,      // softmax over the chosen experts alone
};

// What a forward pass has to know beside sizes. A family gives the usual values; its configure() may change them.
struct Traits {
  Norm norm = Norm::kRms;
  Placement placement = Placement::kBefore;
  Position position = Position::kRope;
  QkNorm qk_norm = QkNorm::kNone;
  Routing routing = Routing::kSoftmaxThenTop;
  bool gated = true;            // MLP is act(gate)·up, else act(up)
  bool parallel = false;        // attention and MLP read the block's input; both are added at once
  bool rotates_pairs = false;   // rotary pairs are neighbours (0,1), (2,3), ..., else halves (0, d/2), ...
  int64_t position_offset = 0;  // rows in front of the learned position of the first token
};

// Logical weights. Matrices are [out, in] when seen through `logical_view`, whatever the file's layout.
enum class Part {
  kEmbed,
  kPositions,
  kNormFinal,
  kNormFinalBias,
  kHead,
  kHeadBias,  // once a model
  kNormAttn,
  kNormAttnBias,
  kQ,
  kQBias,
  kK,
  kKBias,
  kV,
  kVBias,
  kO,
  kOBias,
  kQNorm,
  kKNorm,
  kSinks,         // [H] a logit a head that every softmax also sees
  kNormAttnPost,  // on the attention's output
  kNormMlp,
  kNormMlpBias,
  kGate,
  kGateBias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
  kNormMlpPost,  // on the MLP's output
  kRouter,
  kRouterBias,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kSharedRouter,  // [1,D] gate of the shared expert; once a layer
  kExpertGate,
  kExpertGateBias,
  kExpertUp,
  kExpertUpBias,
  kExpertDown,
  kExpertDownBias,  // once an expert
};
constexpr int kParts = int(Part::kExpertDownBias) + 1;
std::string_view name(Part part);  // "embed", "attn.q", "mlp.down", ...
inline bool per_layer(Part part) { return part >= Part::kNormAttn; }
inline bool per_expert(Part part) { return part >= Part::kExpertGate; }

// How a file's matrix is laid out, and which rows of a fused one are meant.
enum class Layout { kOutIn, kInOut };
enum class Slice { kWhole, kQ, kK, kV, kGate, kUp };
enum class Fused {
  kStacked,      // all of q, then k, then v; all of gate, then up
  kPerKvHead,    // for each key/value head its q heads, its k, its v
  kAlternating,  // gate and up rows take turns
};

using Needed = bool (*)(const ModelConfig& config, int64_t layer);
namespace needed {
bool always(const ModelConfig&, int64_t);
bool unless_tied(const ModelConfig&, int64_t);
bool attention_bias(const ModelConfig&, int64_t);
bool mlp_bias(const ModelConfig&, int64_t);
bool dense(const ModelConfig&, int64_t);  // layers with one MLP
bool dense_bias(const ModelConfig&, int64_t);
bool sparse(const ModelConfig&, int64_t);  // layers with experts
}  // namespace needed

struct TensorRule {
  Part part;
  std::string name;  // in an HF folder; "{}" is the layer, "{e}" the expert
  std::string gguf;  // in a GGUF file; empty: not known there
  Needed needed = needed::always;
  Layout layout = Layout::kOutIn;
  Slice slice = Slice::kWhole;
  Fused fused = Fused::kStacked;
  bool rope_permuted_in_gguf = false;  // rows of each head reordered for interleaved rotation
  bool expert_axis = false;            // axis 0 counts experts
};

// A key that the table reads: its HF spelling, its GGUF spelling (after the architecture's prefix), and the value of an
// absent key (empty: required; "heads", "width/heads", "4*width" are computed).
struct ConfigKey {
  std::string_view hf;
  std::string_view gguf;
  std::string_view fallback;
};

struct ConfigKeys {
  ConfigKey layers{"num_hidden_layers", "block_count", ""};
  ConfigKey width{"hidden_size", "embedding_length", ""};
  ConfigKey heads{"num_attention_heads", "attention.head_count", ""};
  ConfigKey kv_heads{"num_key_value_heads", "attention.head_count_kv", "heads"};
  ConfigKey head_dim{"head_dim", "attention.key_length", "width/heads"};
  ConfigKey hidden{"intermediate_size", "feed_forward_length", ""};
  ConfigKey context{"max_position_embeddings", "context_length", ""};
  ConfigKey eps{"rms_norm_eps", "attention.layer_norm_rms_epsilon", "1e-6"};
};

struct FamilySpec {
  std::string_view name;
  std::string_view class_name;  // "architectures" entry written by convert
  std::vector<std::string_view> model_types;
  std::vector<std::string_view> gguf_architectures;
  Traits traits;
  ConfigKeys keys;
  std::string_view activation_key = "hidden_act";  // config key of the activation
  std::string_view default_activation = "silu";    // when the key is absent
  std::string_view attention_bias_flag;  // config key that switches q/k/v/o biases; empty: the table decides alone
  std::string_view mlp_bias_flag;        // likewise for the MLP
  std::vector<TensorRule> rules;
  std::string_view prefix = "model.";             // of tensor names; checkpoints without it are accepted too
  std::vector<std::string_view> ignored_tensors;  // buffers that are recomputed; "{}" is the layer
  bool ties_by_default = false;
  double default_theta = 10000;
  // Reads what only this family's config says and changes `config` accordingly; may be null.
  void (*configure)(const ConfigReader& read, ModelConfig& config) = nullptr;
  std::string_view about;        // what is its own, for docs/families.md
  std::string_view baking_note;  // which engines honour added biases, or why none can be added
};

std::span<const FamilySpec* const> families();
const FamilySpec* family_for_type(std::string_view model_type);    // nullptr when unknown
const FamilySpec* family_for_gguf(std::string_view architecture);  // nullptr when unknown
std::string family_types();                                        // for messages
const TensorRule* rule_of(const FamilySpec& family, Part part);    // nullptr when the family has no such part

// "model.layers.{}.mlp.experts.{e}.w1.weight", 3, 1 → "model.layers.3.mlp.experts.1.w1.weight"
std::string with_layer(std::string_view pattern, int64_t layer, int64_t expert = 0);

// The logical weight inside a file's tensor: [out, in] or [out]. A view where the layout allows one.
at::Tensor logical_view(const at::Tensor& file_tensor, const TensorRule& rule, const ModelConfig& config,
                        int64_t expert = 0);
// Writes a logical weight into a file's tensor.
void write_logical(const at::Tensor& file_tensor, const TensorRule& rule, const ModelConfig& config, int64_t expert,
                   const at::Tensor& value);

}  // namespace suture::model
