// SPDX-License-Identifier: Apache-2.0
// Families of the llama shape: RMS norms (or layer norms), rotary positions, a gated MLP in every block.
#include "model/family_parts.h"
#include "model/family_rules.h"

namespace suture::model {
namespace {

using namespace rules;
using enum Part;

const std::string kBlock = "model.layers.{}.";

Rules block(const Rules& attention, const Rules& mlp) {
  return join({trunk(), norm(kNormAttn, kBlock + "input_layernorm", "blk.{}.attn_norm"), attention,
               norm(kNormMlp, kBlock + "post_attention_layernorm", "blk.{}.ffn_norm"), mlp});
}

const Rules kPlainMlp = gated_mlp(kBlock + "mlp.", needed::always, never);

FamilySpec base(std::string_view name, std::string_view class_name, Rules rules) {
  FamilySpec spec;
  spec.name = name;
  spec.class_name = class_name;
  spec.model_types = {name};
  spec.attention_bias_flag = "none";
  spec.mlp_bias_flag = "none";
  spec.rules = std::move(rules);
  spec.ignored_tensors = {"model.layers.{}.self_attn.rotary_emb.inv_freq"};
  spec.baking_note = "this class has no bias to hold a constant vector";
  return spec;
}

// ---- llama, mistral

FamilySpec llama() {
  FamilySpec spec =
      base("llama", "LlamaForCausalLM",
           block(attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias, true),
                 gated_mlp(kBlock + "mlp.", needed::always, needed::mlp_bias)));
  spec.gguf_architectures = {"llama"};
  spec.attention_bias_flag = "attention_bias";
  spec.mlp_bias_flag = "mlp_bias";
  spec.ignored_tensors.push_back("rope.freqs");
  spec.baking_note =
      "transformers and llama.cpp load attention and MLP biases; vLLM loads both; SGLang ignores MLP biases";
  spec.about = "biases by flag";
  return spec;
}

void configure_mistral(const ConfigReader& read, ModelConfig& config) {
  const int64_t window = read.count_or("sliding_window", read.names("sliding_window") ? 0 : 4096);
  set_windows(read, config, window, every_layer);
}

FamilySpec mistral() {
  FamilySpec spec = base("mistral", "MistralForCausalLM",
                         block(attention(kBlock + "self_attn.", "o_proj", never, never, true), kPlainMlp));
  spec.keys.kv_heads.fallback = "8";
  spec.configure = configure_mistral;
  spec.about = "sliding window on every layer unless `sliding_window` is null";
  return spec;
}

// ---- qwen

void configure_qwen2(const ConfigReader& read, ModelConfig& config) {
  const bool slides = read.flag_or("use_sliding_window", false);
  const int64_t window = slides ? read.count_or("sliding_window", 4096) : 0;
  read.find("sliding_window");
  set_windows(read, config, window, every_layer);
  if (read.find("layer_types") == nullptr)
    for (int64_t layer = 0; layer < std::min(config.layers, read.count_or("max_window_layers", 28)); ++layer)
      config.layer[size_t(layer)].window = 0;
}

FamilySpec qwen2() {
  FamilySpec spec = base("qwen2", "Qwen2ForCausalLM",
                         block(attention(kBlock + "self_attn.", "o_proj", needed::always, never), kPlainMlp));
  spec.keys.kv_heads.fallback = "32";
  spec.configure = configure_qwen2;
  spec.about = "biases on q, k and v; sliding window on the upper layers when switched on";
  return spec;
}

Rules head_norms() {
  return join({norm(kQNorm, kBlock + "self_attn.q_norm", "blk.{}.attn_q_norm"),
               norm(kKNorm, kBlock + "self_attn.k_norm", "blk.{}.attn_k_norm")});
}

FamilySpec qwen3() {
  FamilySpec spec = base(
      "qwen3", "Qwen3ForCausalLM",
      join(
          {block(attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias), kPlainMlp),
           head_norms()}));
  spec.traits.qk_norm = QkNorm::kHead;
  spec.keys.kv_heads.fallback = "32";
  spec.keys.head_dim.fallback = "128";
  spec.attention_bias_flag = "attention_bias";
  spec.configure = configure_qwen2;
  spec.baking_note = "transformers loads an output projection bias; llama.cpp does not";
  spec.about = "head width of its own; sliding window on the upper layers when switched on";
  return spec;
}

// ---- gemma

void configure_gemma(const ConfigReader&, ModelConfig& config) {
  config.embed_scale = std::sqrt(double(config.width));
  if (config.activation == Activation::kGelu) config.activation = Activation::kGeluTanh;
}

FamilySpec gemma() {
  FamilySpec spec = base(
      "gemma", "GemmaForCausalLM",
      block(attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias), kPlainMlp));
  spec.traits.norm = Norm::kRmsPlusOne;
  spec.keys.head_dim.fallback = "256";
  spec.attention_bias_flag = "attention_bias";
  spec.default_activation = "gelu_pytorch_tanh";
  spec.ties_by_default = true;
  spec.configure = configure_gemma;
  spec.baking_note = "transformers loads an output projection bias";
  spec.about = "embeddings times the root of the width; tied";
  return spec;
}

Rules around_norms() {
  return join({norm(kNormAttn, kBlock + "input_layernorm", "blk.{}.attn_norm"),
               norm(kNormAttnPost, kBlock + "post_attention_layernorm", "blk.{}.post_attention_norm"),
               norm(kNormMlp, kBlock + "pre_feedforward_layernorm", "blk.{}.ffn_norm"),
               norm(kNormMlpPost, kBlock + "post_feedforward_layernorm", "blk.{}.post_ffw_norm")});
}

void configure_gemma2(const ConfigReader& read, ModelConfig& config) {
  configure_gemma(read, config);
  config.attention_scale = 1 / std::sqrt(read.number_or("query_pre_attn_scalar", 256));
  config.attention_cap = read.number_or("attn_logit_softcapping", read.names("attn_logit_softcapping") ? 0 : 50);
  config.logit_cap = read.number_or("final_logit_softcapping", read.names("final_logit_softcapping") ? 0 : 30);
  set_windows(read, config, read.count_or("sliding_window", read.names("sliding_window") ? 0 : 4096), even_layer);
}

FamilySpec gemma2() {
  FamilySpec spec = gemma();
  spec.name = "gemma2";
  spec.class_name = "Gemma2ForCausalLM";
  spec.model_types = {"gemma2"};
  spec.traits.placement = Placement::kAround;
  spec.activation_key = "hidden_activation";
  spec.rules =
      join({trunk(), around_norms(),
            attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias), kPlainMlp});
  spec.configure = configure_gemma2;
  spec.baking_note = "a norm stands between the projections and the residual stream, so no bias adds a constant";
  spec.about = "soft caps on scores and logits; every other layer slides; scores by `query_pre_attn_scalar`; tied";
  return spec;
}

// Layers of two kinds, each with its own rotation: index 0 for full attention, 1 for sliding.
void set_ropes_by_kind(const ConfigReader& read, ModelConfig& config, double full_theta, double sliding_theta,
                       const char* old_sliding_theta) {
  const Json* nested = read.find("rope_parameters");
  const auto section = [&](const char* kind) -> const Json* {
    return nested != nullptr && nested->is_object() && nested->contains(kind) ? &(*nested)[kind] : nullptr;
  };
  config.ropes = {read_rope(read, config, section("full_attention"), full_theta)};
  const Json plain = {{"rope_type", "default"}, {"rope_theta", read.number_or(old_sliding_theta, sliding_theta)}};
  const Json* sliding = section("sliding_attention");
  config.ropes.push_back(read_rope(read, config, sliding != nullptr ? sliding : &plain, sliding_theta));
  for (LayerConfig& layer : config.layer) layer.rope = layer.window > 0 ? 1 : 0;
}

bool five_of_six(int64_t layer) { return (layer + 1) % 6 != 0; }
bool three_of_four(int64_t layer) { return (layer + 1) % 4 != 0; }

void configure_gemma3(const ConfigReader& read, ModelConfig& config) {
  configure_gemma(read, config);
  config.attention_scale = 1 / std::sqrt(read.number_or("query_pre_attn_scalar", 256));
  read.find("attn_logit_softcapping");  // named by the config, not used by the model
  config.logit_cap = read.number_or("final_logit_softcapping", 0);
  set_windows(read, config, read.count_or("sliding_window", 4096), five_of_six);
  const int64_t pattern = read.count_or("sliding_window_pattern", read.count_or("_sliding_window_pattern", 6));
  if (read.find("layer_types") == nullptr && pattern > 0)
    for (int64_t layer = 0; layer < config.layers; ++layer)
      config.layer[size_t(layer)].window = (layer + 1) % pattern != 0 ? read.count_or("sliding_window", 4096) : 0;
  set_ropes_by_kind(read, config, 1e6, 1e4, "rope_local_base_freq");
}

FamilySpec gemma3() {
  FamilySpec spec = gemma2();
  spec.name = "gemma3";
  spec.class_name = "Gemma3ForCausalLM";
  spec.model_types = {"gemma3_text"};
  spec.traits.qk_norm = QkNorm::kHead;
  spec.rules = join({spec.rules, head_norms()});
  spec.configure = configure_gemma3;
  spec.about = "five layers of six slide, with a rotation of their own; tied";
  return spec;
}

// ---- phi3, glm4

void configure_phi3(const ConfigReader& read, ModelConfig& config) {
  config.ropes = {read_rope(read, config, nullptr, 10000, 1)};
  set_windows(read, config, read.count_or("sliding_window", 0), every_layer);
}

FamilySpec phi3() {
  FamilySpec spec =
      base("phi3", "Phi3ForCausalLM",
           block(join({fused_qkv(kBlock + "self_attn.qkv_proj", "blk.{}.attn_qkv", Fused::kStacked, never),
                       {weight(kO, kBlock + "self_attn.o_proj.weight", "blk.{}.attn_output.weight")}}),
                 fused_gated_mlp(kBlock + "mlp.")));
  spec.keys.eps.fallback = "1e-5";
  spec.configure = configure_phi3;
  spec.about = "fused q/k/v and gate/up; sliding window; part of a head may rotate";
  return spec;
}

void configure_glm4(const ConfigReader& read, ModelConfig& config) {
  config.ropes = {read_rope(read, config, nullptr, 10000, 0.5)};
}

FamilySpec glm4() {
  FamilySpec spec = base("glm4", "Glm4ForCausalLM",
                         join({trunk(), norm(kNormAttn, kBlock + "input_layernorm", "blk.{}.attn_norm"),
                               norm(kNormAttnPost, kBlock + "post_self_attn_layernorm", "blk.{}.post_attention_norm"),
                               norm(kNormMlp, kBlock + "post_attention_layernorm", "blk.{}.ffn_norm"),
                               norm(kNormMlpPost, kBlock + "post_mlp_layernorm", "blk.{}.post_ffw_norm"),
                               attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, never),
                               fused_gated_mlp(kBlock + "mlp.")}));
  spec.traits.placement = Placement::kAround;
  spec.traits.rotates_pairs = true;
  spec.attention_bias_flag = "attention_bias";
  spec.keys.kv_heads.fallback = "2";
  spec.keys.head_dim.fallback = "128";
  spec.keys.eps.fallback = "1.5625e-7";
  spec.configure = configure_glm4;
  spec.baking_note = gemma2().baking_note;
  spec.about = "half of a head rotates; fused gate/up; biases on q, k and v";
  return spec;
}

// ---- olmo

void configure_olmo(const ConfigReader& read, ModelConfig& config) {
  config.eps = 1e-5;
  config.clip_qkv = read.number_or("clip_qkv", 0);
}

FamilySpec olmo() {
  FamilySpec spec =
      base("olmo", "OlmoForCausalLM",
           join({{weight(kEmbed, "model.embed_tokens.weight", "token_embd.weight"),
                  weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied)},
                 attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias, true),
                 kPlainMlp}));
  spec.traits.norm = Norm::kPlain;
  spec.attention_bias_flag = "attention_bias";
  spec.configure = configure_olmo;
  spec.baking_note = "transformers loads an output projection bias";
  spec.about = "q, k and v clipped by `clip_qkv`";
  return spec;
}

FamilySpec olmo2() {
  FamilySpec spec = base(
      "olmo2", "Olmo2ForCausalLM",
      join({trunk(), norm(kNormAttnPost, kBlock + "post_attention_layernorm", "blk.{}.post_attention_norm"),
            norm(kNormMlpPost, kBlock + "post_feedforward_layernorm", "blk.{}.post_ffw_norm"), head_norms(),
            attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias), kPlainMlp}));
  spec.traits.placement = Placement::kAfter;
  spec.traits.qk_norm = QkNorm::kWhole;
  spec.attention_bias_flag = "attention_bias";
  spec.keys.eps.fallback = "1e-5";
  spec.baking_note = gemma2().baking_note;
  return spec;
}

void configure_olmo3(const ConfigReader& read, ModelConfig& config) {
  set_windows(read, config, read.count_or("sliding_window", 4096), three_of_four);
  set_ropes_by_kind(read, config, 5e5, 5e5, "rope_theta");
}

FamilySpec olmo3() {
  FamilySpec spec = olmo2();
  spec.name = "olmo3";
  spec.class_name = "Olmo3ForCausalLM";
  spec.model_types = {"olmo3"};
  spec.configure = configure_olmo3;
  spec.about = "three layers of four slide, with a rotation of their own";
  return spec;
}

// ---- granite, smollm3, stablelm

void configure_granite(const ConfigReader& read, ModelConfig& config) {
  config.embed_scale = read.number_or("embedding_multiplier", 1);
  config.residual_scale = read.number_or("residual_multiplier", 1);
  config.attention_scale = read.number_or("attention_multiplier", 1);
  config.logit_scale = 1 / read.number_or("logits_scaling", 1);
}

FamilySpec granite() {
  FamilySpec spec = llama();
  spec.name = "granite";
  spec.class_name = "GraniteForCausalLM";
  spec.model_types = {"granite"};
  spec.gguf_architectures.clear();
  spec.configure = configure_granite;
  spec.baking_note = "transformers loads these biases; SGLang does not";
  spec.about = "multipliers on embeddings, residuals, scores and logits";
  return spec;
}

// The key is named for what it switches off, and says 1 where positions are on.
void configure_smollm3(const ConfigReader& read, ModelConfig& config) {
  const std::vector<double> on = read.numbers("no_rope_layers");
  const int64_t interval = read.count_or("no_rope_layer_interval", 4);
  if (!on.empty() && int64_t(on.size()) != config.layers)
    fail(Code::kModel, "cannot read {}: 'no_rope_layers' must have {} numbers, got {}", read.origin(), config.layers,
         on.size());
  const bool slides = read.flag_or("use_sliding_window", false);
  const int64_t window = slides ? read.count_or("sliding_window", 0) : 0;
  read.find("sliding_window");
  for (int64_t l = 0; l < config.layers; ++l) {
    const bool rope = on.empty() ? (l + 1) % interval != 0 : on[size_t(l)] != 0;
    config.layer[size_t(l)] = {rope ? 0 : window, rope ? 0 : -1, false};
  }
  if (read.find("layer_types") != nullptr) set_windows(read, config, window, every_layer);
}

FamilySpec smollm3() {
  FamilySpec spec = llama();
  spec.name = "smollm3";
  spec.class_name = "SmolLM3ForCausalLM";
  spec.model_types = {"smollm3"};
  spec.gguf_architectures.clear();
  spec.keys.kv_heads.fallback = "4";
  spec.default_theta = 2e6;
  spec.ties_by_default = true;
  spec.configure = configure_smollm3;
  spec.baking_note = "transformers loads these biases";
  spec.about = "every fourth layer without positions; tied";
  return spec;
}

bool qkv_bias(const ModelConfig& config, int64_t) { return config.attention_bias; }
bool not_parallel(const ModelConfig& config, int64_t) { return !config.traits.parallel; }

void configure_stablelm(const ConfigReader& read, ModelConfig& config) {
  config.attention_bias = read.flag_or("use_qkv_bias", false);
  config.traits.parallel = read.flag_or("use_parallel_residual", false);
  config.ropes = {read_rope(read, config, nullptr, 10000, 0.25)};
}

FamilySpec stablelm() {
  FamilySpec spec = base(
      "stablelm", "StableLmForCausalLM",
      join({trunk_bias(), norm_bias(kNormAttn, kBlock + "input_layernorm", "blk.{}.attn_norm"),
            attention(kBlock + "self_attn.", "o_proj", qkv_bias, never),
            norm_bias(kNormMlp, kBlock + "post_attention_layernorm", "blk.{}.ffn_norm", not_parallel), kPlainMlp}));
  spec.traits.norm = Norm::kLayer;
  spec.keys.eps = {"layer_norm_eps", "attention.layer_norm_epsilon", "1e-5"};
  spec.configure = configure_stablelm;
  spec.about = "part of a head rotates; parallel blocks by flag";
  return spec;
}

}  // namespace

const std::vector<FamilySpec>& llama_families() {
  static const std::vector<FamilySpec> kAll = {llama(),  mistral(), qwen2(),   qwen3(),   gemma(),
                                               gemma2(), gemma3(),  phi3(),    glm4(),    olmo(),
                                               olmo2(),  olmo3(),   granite(), smollm3(), stablelm()};
  return kAll;
}

}  // namespace suture::model
