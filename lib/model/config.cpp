// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <array>
#include <cmath>

namespace suture::model {
namespace {

struct Reader {
  const Json& json;
  const std::string& origin;

  const Json* find(std::string_view key) const {
    const auto it = key.empty() ? json.end() : json.find(std::string(key));
    return it == json.end() || it->is_null() ? nullptr : &*it;
  }
  double number(const Json& value, std::string_view key) const {
    if (!value.is_number())
      fail(Code::kModel, "cannot read {}: '{}' must be a number, got {}", origin, key, value.dump());
    return value.get<double>();
  }
  double number_or(std::string_view key, double fallback) const {
    const Json* value = find(key);
    return value == nullptr ? fallback : number(*value, key);
  }
  int64_t count(const Json& value, std::string_view key) const {
    const double x = number(value, key);
    if (x < 1 || x != std::floor(x) || x > 1e12)
      fail(Code::kModel, "cannot read {}: '{}' must be a positive integer, got {}", origin, key, value.dump());
    return int64_t(x);
  }
  bool flag_or(std::string_view key, bool fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_boolean())
      fail(Code::kModel, "cannot read {}: '{}' must be true or false, got {}", origin, key, value->dump());
    return value->get<bool>();
  }
  std::string text_or(std::string_view key, std::string_view fallback) const {
    const Json* value = find(key);
    if (value == nullptr) return std::string(fallback);
    if (!value->is_string())
      fail(Code::kModel, "cannot read {}: '{}' must be text, got {}", origin, key, value->dump());
    return value->get<std::string>();
  }
  int64_t required(const ConfigKey& key, int64_t fallback) const {
    if (const Json* value = find(key.hf)) return count(*value, key.hf);
    if (fallback > 0) return fallback;
    fail(Code::kModel, "cannot read {}: key '{}' is missing", origin, key.hf);
  }
};

// A key this project does not compute, with the values under which it changes nothing.
struct Foreign {
  std::string_view key;
  std::array<std::string_view, 2> neutral;
};
constexpr Foreign kForeign[] = {
    {"sliding_window", {"null", ""}},
    {"use_sliding_window", {"false", ""}},
    {"attn_logit_softcapping", {"null", ""}},
    {"final_logit_softcapping", {"null", ""}},
    {"partial_rotary_factor", {"1.0", "1"}},
    {"quantization_config", {"null", ""}},
    {"num_local_experts", {"null", "0"}},
    {"num_experts", {"null", "0"}},
    {"scale_attn_by_inverse_layer_idx", {"false", ""}},
    {"scale_attn_weights", {"true", ""}},
    {"qk_layernorm", {"false", ""}},
    {"use_qk_norm", {"false", ""}},
    {"embedding_multiplier", {"1.0", "1"}},
    {"residual_multiplier", {"1.0", "1"}},
    {"attention_multiplier", {"null", ""}},
    {"logits_scaling", {"1.0", "1"}},
    {"alibi", {"false", ""}},
    {"is_encoder_decoder", {"false", ""}},
    {"add_cross_attention", {"false", ""}},
    {"parallel_attn", {"false", ""}},
    {"no_rope_layers", {"null", "[]"}},
    {"layer_types", {"null", ""}},
};

void refuse_foreign(const Reader& read) {
  for (const Foreign& foreign : kForeign) {
    const Json* value = read.find(foreign.key);
    if (value == nullptr) continue;
    const std::string text = value->dump();
    if (text == foreign.neutral[0] || text == foreign.neutral[1]) continue;
    if (foreign.key == "layer_types" && value->is_array() &&
        std::all_of(value->begin(), value->end(), [](const Json& type) { return type == "full_attention"; }))
      continue;
    if (foreign.key == "sliding_window" && !read.flag_or("use_sliding_window", true)) continue;
    if (foreign.key == "quantization_config")
      fail(Code::kModel, "cannot load {}: quantised checkpoints ({}) are not supported; use the unquantised model",
           read.origin, value->value("quant_method", "unknown method"));
    fail(Code::kModel, "cannot load {}: '{}' = {} changes the computation and is not supported", read.origin,
         foreign.key, text);
  }
}

Activation activation_from(const std::string& text, const std::string& origin) {
  if (text == "silu" || text == "swish") return Activation::kSilu;
  if (text == "gelu") return Activation::kGelu;
  if (text == "gelu_new" || text == "gelu_pytorch_tanh" || text == "gelu_fast") return Activation::kGeluTanh;
  if (text == "relu") return Activation::kRelu;
  fail(Code::kModel, "cannot load {}: activation '{}' is not supported", origin, text);
}

Rope read_rope(const Reader& top) {
  Rope rope;
  const Json* nested = top.find("rope_parameters");
  const Json* old = top.find("rope_scaling");
  const Json empty = Json::object();
  const Json& section = nested != nullptr ? *nested : old != nullptr ? *old : empty;
  const std::string origin = top.origin + (nested != nullptr ? " rope_parameters" : " rope_scaling");
  if (!section.is_object()) fail(Code::kModel, "cannot read {}: must be a mapping, got {}", origin, section.dump());
  const Reader read{section, origin};
  rope.theta = read.number_or("rope_theta", top.number_or("rope_theta", rope.theta));
  const std::string kind = read.text_or("rope_type", read.text_or("type", "default"));
  if (kind == "default") return rope;
  if (kind != "linear" && kind != "llama3")
    fail(Code::kModel, "cannot load {}: rope type '{}' is not supported; supported are default, linear, llama3",
         top.origin, kind);
  const auto required = [&](std::string_view key) {
    const Json* value = read.find(key);
    if (value == nullptr)
      fail(Code::kModel, "cannot read {}: key '{}' is missing for rope type '{}'", origin, key, kind);
    return read.number(*value, key);
  };
  rope.factor = required("factor");
  rope.kind = kind == "linear" ? RopeKind::kLinear : RopeKind::kLlama3;
  if (rope.kind == RopeKind::kLlama3) {
    rope.low_freq_factor = required("low_freq_factor");
    rope.high_freq_factor = required("high_freq_factor");
    rope.original_context = required("original_max_position_embeddings");
  }
  return rope;
}

const FamilySpec& family_of(const Reader& read) {
  const std::string type = read.text_or("model_type", "");
  if (type.empty()) fail(Code::kModel, "cannot read {}: key 'model_type' is missing", read.origin);
  const FamilySpec* family = family_for_type(type);
  if (family == nullptr)
    fail(Code::kModel, "cannot load {}: model type '{}' is not supported; supported are {}", read.origin, type,
         family_types());
  return *family;
}

int64_t fallback_of(const ConfigKey& key, const ModelConfig& config) {
  if (key.fallback.empty()) return 0;
  if (key.fallback == "heads") return config.heads;
  if (key.fallback == "width/heads") return config.width / config.heads;
  if (key.fallback == "4*width") return 4 * config.width;
  return std::stoll(std::string(key.fallback));
}

bool bias_flag(const Reader& read, std::string_view key) {
  if (key.empty()) return true;
  if (key == "none") {
    for (const std::string_view flag : {"attention_bias", "mlp_bias"})
      if (read.flag_or(flag, false))
        fail(Code::kModel, "cannot load {}: '{}' = true, but this model type has no biases", read.origin, flag);
    return false;
  }
  return read.flag_or(key, false);
}

void check_shapes(const ModelConfig& config, const std::string& origin) {
  if (config.heads % config.kv_heads != 0)
    fail(Code::kModel, "cannot load {}: {} query heads are not a multiple of {} key/value heads", origin, config.heads,
         config.kv_heads);
  if (config.family->traits.position == Position::kRope && config.head_dim % 2 != 0)
    fail(Code::kModel, "cannot load {}: rotary positions need an even head width, got {}", origin, config.head_dim);
}

}  // namespace

ModelConfig read_config(const Json& json, const std::string& origin) {
  if (!json.is_object()) fail(Code::kModel, "cannot read {}: must be a JSON object", origin);
  const Reader read{json, origin};
  ModelConfig config;
  config.family = &family_of(read);
  refuse_foreign(read);
  if (config.family->window_when_absent > 0 && !json.contains("sliding_window"))
    fail(Code::kModel, "cannot load {}: this model type has a sliding window of {} unless 'sliding_window' is null",
         origin, config.family->window_when_absent);
  const ConfigKeys& keys = config.family->keys;
  config.layers = read.required(keys.layers, fallback_of(keys.layers, config));
  config.width = read.required(keys.width, fallback_of(keys.width, config));
  config.heads = read.required(keys.heads, fallback_of(keys.heads, config));
  config.kv_heads = read.required(keys.kv_heads, fallback_of(keys.kv_heads, config));
  config.head_dim = read.required(keys.head_dim, fallback_of(keys.head_dim, config));
  config.hidden = read.required(keys.hidden, fallback_of(keys.hidden, config));
  config.context = read.required(keys.context, fallback_of(keys.context, config));
  config.vocab = read.required({"vocab_size", "", ""}, 0);
  config.eps = read.number_or(keys.eps.hf, std::stod(std::string(keys.eps.fallback)));
  config.activation =
      activation_from(read.text_or(config.family->activation_key, config.family->default_activation), origin);
  if (config.family->traits.position == Position::kRope) config.rope = read_rope(read);
  config.tied = read.flag_or("tie_word_embeddings", config.family->ties_by_default);
  config.attention_bias = bias_flag(read, config.family->attention_bias_flag);
  config.mlp_bias = bias_flag(read, config.family->mlp_bias_flag);
  config.dtype = read.text_or("dtype", read.text_or("torch_dtype", ""));
  check_shapes(config, origin);
  return config;
}

}  // namespace suture::model
