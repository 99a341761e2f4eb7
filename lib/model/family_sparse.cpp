// SPDX-License-Identifier: Apache-2.0
// Families with a mixture of experts.
#include "model/family_parts.h"
#include "model/family_rules.h"

namespace suture::model {
namespace {

using namespace rules;
using enum Part;

const std::string kBlock = "model.layers.{}.";

FamilySpec base(std::string_view name, std::string_view class_name, const Rules& attention, const Rules& mlp) {
  FamilySpec spec;
  spec.name = name;
  spec.class_name = class_name;
  spec.model_types = {name};
  spec.attention_bias_flag = "none";
  spec.mlp_bias_flag = "none";
  spec.rules = join({trunk(), norm(kNormAttn, kBlock + "input_layernorm", "blk.{}.attn_norm"), attention,
                     norm(kNormMlp, kBlock + "post_attention_layernorm", "blk.{}.ffn_norm"), mlp});
  spec.ignored_tensors = {"model.layers.{}.self_attn.rotary_emb.inv_freq"};
  spec.baking_note = "this class has no bias to hold a constant vector";
  return spec;
}

// ---- mixtral

void configure_mixtral(const ConfigReader& read, ModelConfig& config) {
  config.experts = read.count_or("num_local_experts", 8);
  config.top_experts = read.count_or("num_experts_per_tok", 2);
  config.expert_hidden = config.hidden;
  for (LayerConfig& layer : config.layer) layer.sparse = true;
  set_windows(read, config, read.count_or("sliding_window", 0), every_layer);
}

FamilySpec mixtral() {
  const std::string moe = kBlock + "block_sparse_moe.";
  FamilySpec spec =
      base("mixtral", "MixtralForCausalLM", attention(kBlock + "self_attn.", "o_proj", never, never, true),
           join({{weight(kRouter, moe + "gate.weight", "blk.{}.ffn_gate_inp.weight")},
                 experts(moe + "experts.", "w1", "w3", "w2")}));
  spec.traits.routing = Routing::kSoftmaxThenTopNorm;
  spec.keys.kv_heads.fallback = "8";
  spec.keys.eps.fallback = "1e-5";
  spec.default_theta = 1e6;
  spec.configure = configure_mixtral;
  spec.about = "two experts of eight, weights normalised";
  return spec;
}

// ---- qwen2_moe, qwen3_moe

void choose_sparse_layers(const ConfigReader& read, ModelConfig& config) {
  const std::vector<double> dense = read.numbers("mlp_only_layers");
  const int64_t step = read.count_or("decoder_sparse_step", 1);
  for (int64_t l = 0; l < config.layers; ++l)
    config.layer[size_t(l)].sparse = std::find(dense.begin(), dense.end(), double(l)) == dense.end() &&
                                     config.experts > 0 && step > 0 && (l + 1) % step == 0;
}

bool odd_layer_from_one(int64_t layer) { return (layer + 1) % 2 != 0; }

void configure_qwen_moe(const ConfigReader& read, ModelConfig& config, int64_t experts, int64_t top, int64_t hidden) {
  config.experts = read.count_or("num_experts", read.count_or("num_local_experts", experts));
  config.top_experts = read.count_or("num_experts_per_tok", top);
  config.expert_hidden = read.count_or("moe_intermediate_size", hidden);
  if (read.flag_or("norm_topk_prob", false)) config.traits.routing = Routing::kSoftmaxThenTopNorm;
  choose_sparse_layers(read, config);
}

void configure_qwen2_moe(const ConfigReader& read, ModelConfig& config) {
  configure_qwen_moe(read, config, 60, 4, 1408);
  config.shared_hidden = read.count_or("shared_expert_intermediate_size", 5632);
  config.attention_bias = read.flag_or("qkv_bias", true);
  const int64_t window = read.flag_or("use_sliding_window", false) ? read.count_or("sliding_window", 4096) : 0;
  read.find("sliding_window");
  set_windows(read, config, window, odd_layer_from_one);
  if (read.find("layer_types") == nullptr)
    for (int64_t l = read.count_or("max_window_layers", 28); l < config.layers; ++l) config.layer[size_t(l)].window = 0;
}

FamilySpec qwen2_moe() {
  const std::string mlp = kBlock + "mlp.";
  FamilySpec spec = base(
      "qwen2_moe", "Qwen2MoeForCausalLM", attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, never),
      join(
          {gated_mlp(mlp, needed::dense, never),
           {weight(kRouter, mlp + "gate.weight", "blk.{}.ffn_gate_inp.weight", needed::sparse)},
           experts(mlp + "experts.", "gate_proj", "up_proj", "down_proj"),
           {weight(kSharedGate, mlp + "shared_expert.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight", needed::sparse),
            weight(kSharedUp, mlp + "shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight", needed::sparse),
            weight(kSharedDown, mlp + "shared_expert.down_proj.weight", "blk.{}.ffn_down_shexp.weight", needed::sparse),
            weight(kSharedRouter, mlp + "shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight",
                   needed::sparse)}}));
  spec.keys.kv_heads.fallback = "16";
  spec.configure = configure_qwen2_moe;
  spec.about = "a shared expert behind a gate; dense layers by configuration; biases on q, k and v";
  return spec;
}

void configure_qwen3_moe(const ConfigReader& read, ModelConfig& config) {
  configure_qwen_moe(read, config, 128, 8, 768);
  const int64_t window = read.flag_or("use_sliding_window", false) ? read.count_or("sliding_window", 4096) : 0;
  read.find("sliding_window");
  set_windows(read, config, window, every_layer);
}

FamilySpec qwen3_moe() {
  const std::string mlp = kBlock + "mlp.";
  FamilySpec spec =
      base("qwen3_moe", "Qwen3MoeForCausalLM",
           join({attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias),
                 norm(kQNorm, kBlock + "self_attn.q_norm", "blk.{}.attn_q_norm"),
                 norm(kKNorm, kBlock + "self_attn.k_norm", "blk.{}.attn_k_norm")}),
           join({gated_mlp(mlp, needed::dense, never),
                 {weight(kRouter, mlp + "gate.weight", "blk.{}.ffn_gate_inp.weight", needed::sparse)},
                 experts(mlp + "experts.", "gate_proj", "up_proj", "down_proj")}));
  spec.traits.qk_norm = QkNorm::kHead;
  spec.keys.kv_heads.fallback = "4";
  spec.attention_bias_flag = "attention_bias";
  spec.configure = configure_qwen3_moe;
  spec.about = "dense layers by configuration";
  return spec;
}

// ---- gpt_oss

void configure_gpt_oss(const ConfigReader& read, ModelConfig& config) {
  config.attention_bias = read.flag_or("attention_bias", true);
  config.experts = read.count_or("num_local_experts", 128);
  config.top_experts = read.count_or("num_experts_per_tok", read.count_or("experts_per_token", 4));
  config.expert_hidden = config.hidden;
  config.activation = Activation::kClampedSwiglu;
  config.swiglu_limit = read.number_or("swiglu_limit", 7);
  config.swiglu_alpha = read.number_or("swiglu_alpha", 1.702);
  for (LayerConfig& layer : config.layer) layer.sparse = true;
  set_windows(read, config, read.count_or("sliding_window", 128), even_layer);
}

TensorRule expert(Part part, const std::string& name, Layout layout, Slice slice) {
  TensorRule rule = weight(part, name);
  rule.layout = layout;
  rule.slice = slice;
  rule.fused = Fused::kAlternating;
  rule.expert_axis = true;
  return rule;
}

FamilySpec gpt_oss() {
  const std::string mlp = kBlock + "mlp.", experts = mlp + "experts.";
  FamilySpec spec =
      base("gpt_oss", "GptOssForCausalLM",
           join({attention(kBlock + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias),
                 {weight(kSinks, kBlock + "self_attn.sinks", "blk.{}.attn_sinks.weight")}}),
           {weight(kRouter, mlp + "router.weight", "blk.{}.ffn_gate_inp.weight"),
            weight(kRouterBias, mlp + "router.bias", "blk.{}.ffn_gate_inp.bias"),
            expert(kExpertGate, experts + "gate_up_proj", Layout::kInOut, Slice::kGate),
            expert(kExpertUp, experts + "gate_up_proj", Layout::kInOut, Slice::kUp),
            expert(kExpertGateBias, experts + "gate_up_proj_bias", Layout::kOutIn, Slice::kGate),
            expert(kExpertUpBias, experts + "gate_up_proj_bias", Layout::kOutIn, Slice::kUp),
            expert(kExpertDown, experts + "down_proj", Layout::kInOut, Slice::kWhole),
            expert(kExpertDownBias, experts + "down_proj_bias", Layout::kOutIn, Slice::kWhole)});
  spec.traits.routing = Routing::kTopThenSoftmax;
  spec.keys.kv_heads.fallback = "8";
  spec.keys.head_dim.fallback = "64";
  spec.keys.eps.fallback = "1e-5";
  spec.default_theta = 150000;
  spec.attention_bias_flag = "";
  spec.configure = configure_gpt_oss;
  spec.about = "attention sinks; fused experts with alternating gate and up, clamped; every other layer slides";
  return spec;
}

}  // namespace

const std::vector<FamilySpec>& sparse_families() {
  static const std::vector<FamilySpec> kAll = {mixtral(), qwen2_moe(), qwen3_moe(), gpt_oss()};
  return kAll;
}

}  // namespace suture::model
