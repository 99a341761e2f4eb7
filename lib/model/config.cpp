// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace suture::model {

const Json* ConfigReader::find(std::string_view key) const {
  if (key.empty()) return nullptr;
  asked_.insert(std::string(key));
  const auto it = json_.find(std::string(key));
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool ConfigReader::names(std::string_view key) const { return json_.contains(std::string(key)); }

namespace {

double number(const Json& value, std::string_view key, const std::string& origin) {
  if (!value.is_number())
    fail(Code::kModel, "cannot read {}: '{}' must be a number, got {}", origin, key, value.dump());
  return value.get<double>();
}

int64_t count(const Json& value, std::string_view key, const std::string& origin) {
  const double x = number(value, key, origin);
  if (x < 0 || x != std::floor(x) || x > 1e12)
    fail(Code::kModel, "cannot read {}: '{}' must be a whole number, got {}", origin, key, value.dump());
  return int64_t(x);
}

}  // namespace

double ConfigReader::number_or(std::string_view key, double fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : number(*value, key, origin_);
}

int64_t ConfigReader::count_or(std::string_view key, int64_t fallback) const {
  const Json* value = find(key);
  return value == nullptr ? fallback : count(*value, key, origin_);
}

bool ConfigReader::flag_or(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean())
    fail(Code::kModel, "cannot read {}: '{}' must be true or false, got {}", origin_, key, value->dump());
  return value->get<bool>();
}

std::string ConfigReader::text_or(std::string_view key, std::string_view fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) fail(Code::kModel, "cannot read {}: '{}' must be text, got {}", origin_, key, value->dump());
  return value->get<std::string>();
}

std::vector<double> ConfigReader::numbers(std::string_view key) const {
  const Json* value = find(key);
  std::vector<double> all;
  if (value == nullptr) return all;
  if (!value->is_array())
    fail(Code::kModel, "cannot read {}: '{}' must be a list of numbers, got {}", origin_, key, value->dump());
  for (const Json& one : *value) all.push_back(number(one, key, origin_));
  return all;
}

double ConfigReader::required_number(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) fail(Code::kModel, "cannot read {}: key '{}' is missing", origin_, key);
  return number(*value, key, origin_);
}

int64_t ConfigReader::required_count(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) fail(Code::kModel, "cannot read {}: key '{}' is missing", origin_, key);
  return count(*value, key, origin_);
}

double ModelConfig::scale() const { return attention_scale != 0 ? attention_scale : 1 / std::sqrt(double(head_dim)); }

bool ModelConfig::windowed() const {
  return std::any_of(layer.begin(), layer.end(), [](const LayerConfig& one) { return one.window > 0; });
}

bool ModelConfig::rotates_by_length() const {
  return std::any_of(ropes.begin(), ropes.end(), [](const Rope& rope) {
    return rope.kind == RopeKind::kDynamic || rope.kind == RopeKind::kLongrope;
  });
}

namespace {

// A key that changes the maths where a family reads it, with the values under which it changes nothing elsewhere.
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
    {"rotary_pct", {"1.0", "1"}},
    {"num_local_experts", {"null", "0"}},
    {"num_experts", {"null", "0"}},
    {"n_routed_experts", {"null", "0"}},
    {"scale_attn_by_inverse_layer_idx", {"false", ""}},
    {"scale_attn_weights", {"true", ""}},
    {"qk_layernorm", {"false", ""}},
    {"use_qk_norm", {"false", ""}},
    {"embedding_multiplier", {"1.0", "1"}},
    {"residual_multiplier", {"1.0", "1"}},
    {"attention_multiplier", {"null", ""}},
    {"logits_scaling", {"1.0", "1"}},
    {"logit_scale", {"1.0", "1"}},
    {"alibi", {"false", ""}},
    {"is_encoder_decoder", {"false", ""}},
    {"add_cross_attention", {"false", ""}},
    {"parallel_attn", {"false", ""}},
    {"use_parallel_residual", {"false", ""}},
    {"no_rope_layers", {"null", "[]"}},
    {"clip_qkv", {"null", ""}},
    {"kv_lora_rank", {"null", "0"}},
    {"use_bidirectional_attention", {"false", "null"}},
    {"word_embed_proj_dim", {"null", ""}},
    {"layer_types", {"null", ""}},
};

void refuse_foreign(const ConfigReader& read) {
  for (const Foreign& foreign : kForeign) {
    if (read.asked(std::string(foreign.key))) continue;
    const Json* value = read.find(foreign.key);
    if (value == nullptr) continue;
    const std::string text = value->dump();
    if (text == foreign.neutral[0] || text == foreign.neutral[1]) continue;
    if (foreign.key == "layer_types" && value->is_array() &&
        std::all_of(value->begin(), value->end(), [](const Json& type) { return type == "full_attention"; }))
      continue;
    if (foreign.key == "sliding_window" && !read.flag_or("use_sliding_window", true)) continue;
    fail(Code::kModel, "cannot load {}: '{}' = {} changes the computation and is not supported", read.origin(),
         foreign.key, text);
  }
}

// Formats whose numbers are not the weights themselves, and what to do about each.
void refuse_quantised(const ConfigReader& read) {
  const Json* value = read.find("quantization_config");
  if (value == nullptr) return;
  const std::string method = value->is_object() ? value->value("quant_method", "unknown method") : value->dump();
  const bool bits = value->is_object() && (value->value("load_in_4bit", false) || value->value("load_in_8bit", false));
  const std::string_view remedy =
      bits || method == "bitsandbytes"
          ? "load it in transformers, call dequantize(), save it, or use the model it was made from"
          : "use the model it was made from";
  fail(Code::kModel, "cannot load {}: quantised checkpoints ({}) are not supported; {}", read.origin(),
       bits ? "bitsandbytes" : method, remedy);
}

Activation activation_from(const std::string& text, const std::string& origin) {
  if (text == "silu" || text == "swish") return Activation::kSilu;
  if (text == "gelu") return Activation::kGelu;
  if (text == "gelu_new" || text == "gelu_pytorch_tanh" || text == "gelu_fast") return Activation::kGeluTanh;
  if (text == "relu") return Activation::kRelu;
  fail(Code::kModel, "cannot load {}: activation '{}' is not supported", origin, text);
}

RopeKind kind_from(const std::string& text, const std::string& origin) {
  if (text == "default") return RopeKind::kDefault;
  if (text == "linear") return RopeKind::kLinear;
  if (text == "dynamic") return RopeKind::kDynamic;
  if (text == "yarn") return RopeKind::kYarn;
  if (text == "llama3") return RopeKind::kLlama3;
  if (text == "longrope" || text == "su") return RopeKind::kLongrope;
  fail(Code::kModel,
       "cannot load {}: rope type '{}' is not supported; supported are default, linear, dynamic, yarn, llama3, "
       "longrope",
       origin, text);
}

double yarn_scale(double factor, double strength) { return factor <= 1 ? 1 : 0.1 * strength * std::log(factor) + 1; }

void read_yarn(const ConfigReader& read, Rope& rope) {
  rope.beta_fast = read.number_or("beta_fast", 32);
  rope.beta_slow = read.number_or("beta_slow", 1);
  rope.truncate = read.flag_or("truncate", true);
  const double mscale = read.number_or("mscale", 0), all = read.number_or("mscale_all_dim", 0);
  const double usual = mscale != 0 && all != 0 ? yarn_scale(rope.factor, mscale) / yarn_scale(rope.factor, all)
                                               : yarn_scale(rope.factor, 1);
  rope.attention_factor = read.number_or("attention_factor", usual);
}

void read_longrope(const ConfigReader& read, double context, Rope& rope) {
  rope.short_factor = read.numbers("short_factor");
  rope.long_factor = read.numbers("long_factor");
  for (const auto& [name, list] :
       {std::pair{"short_factor", &rope.short_factor}, std::pair{"long_factor", &rope.long_factor}})
    if (int64_t(list->size()) != rope.dim / 2)
      fail(Code::kModel, "cannot load {}: '{}' has {} numbers, {} rotated pairs need as many", read.origin(), name,
           list->size(), rope.dim / 2);
  const double factor = read.number_or("factor", context / rope.original_context);
  const double usual = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(rope.original_context));
  rope.attention_factor = read.number_or("attention_factor", usual);
}

const FamilySpec& family_of(const ConfigReader& read) {
  const std::string type = read.text_or("model_type", "");
  if (type.empty()) fail(Code::kModel, "cannot read {}: key 'model_type' is missing", read.origin());
  const FamilySpec* family = family_for_type(type);
  if (family == nullptr)
    fail(Code::kModel, "cannot load {}: model type '{}' is not supported; supported are {}", read.origin(), type,
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

int64_t size(const ConfigReader& read, const ConfigKey& key, const ModelConfig& config) {
  const int64_t fallback = fallback_of(key, config);
  const int64_t value = fallback > 0 ? read.count_or(key.hf, fallback) : read.required_count(key.hf);
  if (value < 1)
    fail(Code::kModel, "cannot read {}: '{}' must be a positive integer, got {}", read.origin(), key.hf, value);
  return value;
}

// `usual` is what other families call the flag: refused where the table says that this one has no biases.
bool bias_flag(const ConfigReader& read, std::string_view key, std::string_view usual) {
  if (key.empty()) return true;
  if (key != "none") return read.flag_or(key, false);
  if (read.flag_or(usual, false))
    fail(Code::kModel, "cannot load {}: '{}' = true, but this model type has no biases", read.origin(), usual);
  return false;
}

void check_shapes(const ModelConfig& config, const std::string& origin) {
  if (config.heads % config.kv_heads != 0)
    fail(Code::kModel, "cannot load {}: {} query heads are not a multiple of {} key/value heads", origin, config.heads,
         config.kv_heads);
  for (const Rope& rope : config.ropes)
    if (rope.dim % 2 != 0 || rope.dim < 2 || rope.dim > config.head_dim)
      fail(Code::kModel, "cannot load {}: rotary positions need an even head width, got {} of {}", origin, rope.dim,
           config.head_dim);
  if (config.experts > 0 && (config.top_experts < 1 || config.top_experts > config.experts))
    fail(Code::kModel, "cannot load {}: {} of {} experts cannot be chosen", origin, config.top_experts, config.experts);
}

// The language model's own section over the keys of a model that also sees or hears.
Json language_part(const Json& whole) {
  const auto nested = whole.find("text_config");
  if (nested == whole.end() || !nested->is_object()) return whole;
  Json json = whole;
  json.erase("text_config");
  json.update(*nested);
  return json;
}

void read_sizes(const ConfigReader& read, ModelConfig& config) {
  const ConfigKeys& keys = config.family->keys;
  config.layers = size(read, keys.layers, config);
  config.width = size(read, keys.width, config);
  config.heads = size(read, keys.heads, config);
  config.kv_heads = size(read, keys.kv_heads, config);
  config.head_dim = size(read, keys.head_dim, config);
  config.hidden = size(read, keys.hidden, config);
  config.context = size(read, keys.context, config);
  config.vocab = size(read, {"vocab_size", "", ""}, config);
  config.eps = read.number_or(keys.eps.hf, std::stod(std::string(keys.eps.fallback)));
  config.layer.assign(size_t(config.layers), {});
}

}  // namespace

Rope read_rope(const ConfigReader& top, const ModelConfig& config, const Json* section, double default_theta,
               double default_partial) {
  const Json* nested = top.find("rope_parameters");
  const Json* old = top.find("rope_scaling");
  const Json empty = Json::object();
  const Json& chosen = section != nullptr ? *section : nested != nullptr ? *nested : old != nullptr ? *old : empty;
  const std::string origin =
      top.origin() + (section != nullptr || nested != nullptr ? " rope_parameters" : " rope_scaling");
  if (!chosen.is_object()) fail(Code::kModel, "cannot read {}: must be a mapping, got {}", origin, chosen.dump());
  const ConfigReader read(chosen, origin);
  Rope rope;
  rope.theta = read.number_or("rope_theta", top.number_or("rope_theta", default_theta));
  const bool fixed = default_partial == 0;
  const double partial =
      fixed ? read.number_or("partial_rotary_factor", 1)
            : read.number_or("partial_rotary_factor", top.number_or("partial_rotary_factor", default_partial));
  if (fixed && partial != 1)
    fail(Code::kModel, "cannot load {}: 'partial_rotary_factor' = {} changes the computation and is not supported",
         top.origin(), partial);
  rope.dim = int64_t(double(config.head_dim) * partial);
  rope.kind = kind_from(read.text_or("rope_type", read.text_or("type", "default")), top.origin());
  if (rope.kind == RopeKind::kDefault) return rope;
  const double context = double(config.context);
  rope.original_context = read.number_or("original_max_position_embeddings", context);
  if (rope.kind == RopeKind::kLongrope) {
    rope.original_context = top.number_or("original_max_position_embeddings", rope.original_context);
    read_longrope(read, context, rope);
    return rope;
  }
  rope.factor = rope.kind == RopeKind::kYarn ? read.number_or("factor", context / rope.original_context)
                                             : read.required_number("factor");
  if (rope.kind == RopeKind::kDynamic) rope.original_context = context;
  if (rope.kind == RopeKind::kYarn) read_yarn(read, rope);
  if (rope.kind == RopeKind::kLlama3) {
    rope.low_freq_factor = read.required_number("low_freq_factor");
    rope.high_freq_factor = read.required_number("high_freq_factor");
    rope.original_context = read.required_number("original_max_position_embeddings");
  }
  return rope;
}

void set_windows(const ConfigReader& read, ModelConfig& config, int64_t window, bool (*slides)(int64_t layer)) {
  const Json* types = read.find("layer_types");
  if (types != nullptr && (!types->is_array() || int64_t(types->size()) != config.layers))
    fail(Code::kModel, "cannot read {}: 'layer_types' must name {} layers", read.origin(), config.layers);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    bool slide = slides(layer);
    if (types != nullptr) {
      const Json& type = (*types)[size_t(layer)];
      if (type != "sliding_attention" && type != "full_attention")
        fail(Code::kModel, "cannot load {}: layer type {} of layer {} is not supported", read.origin(), type.dump(),
             layer);
      slide = type == "sliding_attention";
    }
    config.layer[size_t(layer)].window = slide ? window : 0;
  }
}

ModelConfig read_config(const Json& whole, const std::string& origin) {
  if (!whole.is_object()) fail(Code::kModel, "cannot read {}: must be a JSON object", origin);
  const Json json = language_part(whole);
  const ConfigReader read(json, origin);
  ModelConfig config;
  config.family = &family_of(read);
  config.traits = config.family->traits;
  refuse_quantised(read);
  read_sizes(read, config);
  config.activation =
      activation_from(read.text_or(config.family->activation_key, config.family->default_activation), origin);
  config.tied = read.flag_or("tie_word_embeddings", config.family->ties_by_default);
  config.attention_bias = bias_flag(read, config.family->attention_bias_flag, "attention_bias");
  config.mlp_bias = bias_flag(read, config.family->mlp_bias_flag, "mlp_bias");
  if (config.family->configure != nullptr) config.family->configure(read, config);
  if (config.traits.position == Position::kRope && config.ropes.empty())
    config.ropes = {read_rope(read, config, nullptr, config.family->default_theta)};
  refuse_foreign(read);
  config.dtype = read.text_or("dtype", read.text_or("torch_dtype", ""));
  check_shapes(config, origin);
  return config;
}

}  // namespace suture::model
