// SPDX-License-Identifier: Apache-2.0
// Families of the GPT shape: layer norms, an MLP without a gate, biases.
#include "model/family_parts.h"
#include "model/family_rules.h"

namespace suture::model {
namespace {

using namespace rules;
using enum Part;

FamilySpec base(std::string_view name, std::string_view class_name, std::string_view activation, Rules rules) {
  FamilySpec spec;
  spec.name = name;
  spec.class_name = class_name;
  spec.model_types = {name};
  spec.traits = {.norm = Norm::kLayer, .gated = false};
  spec.keys.eps = {"layer_norm_eps", "attention.layer_norm_epsilon", "1e-5"};
  spec.default_activation = activation;
  spec.rules = std::move(rules);
  spec.baking_note = "every engine loads this class's biases";
  return spec;
}

// ---- gpt2, gptj

constexpr ConfigKeys kShortKeys = {.layers = {"n_layer", "block_count", ""},
                                   .width = {"n_embd", "embedding_length", ""},
                                   .heads = {"n_head", "attention.head_count", ""},
                                   .kv_heads = {"", "", "heads"},
                                   .head_dim = {"", "", "width/heads"},
                                   .hidden = {"n_inner", "feed_forward_length", "4*width"},
                                   .context = {"n_positions", "context_length", "1024"},
                                   .eps = {"layer_norm_epsilon", "attention.layer_norm_epsilon", "1e-5"}};

FamilySpec gpt2() {
  const std::string block = "transformer.h.{}.";
  FamilySpec spec = base("gpt2", "GPT2LMHeadModel", "gelu_new",
                         join({{weight(kEmbed, "transformer.wte.weight", "token_embd.weight"),
                                weight(kPositions, "transformer.wpe.weight", "position_embd.weight"),
                                weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied)},
                               norm_bias(kNormFinal, "transformer.ln_f", "output_norm"),
                               norm_bias(kNormAttn, block + "ln_1", "blk.{}.attn_norm"),
                               fused_qkv(block + "attn.c_attn", "blk.{}.attn_qkv", Fused::kStacked, needed::always),
                               {weight(kO, block + "attn.c_proj.weight", "blk.{}.attn_output.weight"),
                                weight(kOBias, block + "attn.c_proj.bias", "blk.{}.attn_output.bias")},
                               norm_bias(kNormMlp, block + "ln_2", "blk.{}.ffn_norm"),
                               plain_mlp(block + "mlp.c_fc", block + "mlp.c_proj", needed::always)}));
  for (TensorRule& rule : spec.rules)
    if (rule.part > kNormAttnBias && rule.part != kNormMlp && rule.part != kNormMlpBias) rule.layout = Layout::kInOut;
  spec.gguf_architectures = {"gpt2"};
  spec.traits.position = Position::kLearned;
  spec.keys = kShortKeys;
  spec.activation_key = "activation_function";
  spec.prefix = "transformer.";
  spec.ignored_tensors = {"transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"};
  spec.ties_by_default = true;
  spec.about = "fused q/k/v stored input by output; tied";
  return spec;
}

void configure_gptj(const ConfigReader& read, ModelConfig& config) {
  Rope rope;
  rope.dim = read.required_count("rotary_dim");
  config.ropes = {rope};
}

FamilySpec gptj() {
  const std::string block = "transformer.h.{}.";
  FamilySpec spec = base("gptj", "GPTJForCausalLM", "gelu_new",
                         join({{weight(kEmbed, "transformer.wte.weight", "token_embd.weight"),
                                weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied),
                                weight(kHeadBias, "lm_head.bias", "output.bias")},
                               norm_bias(kNormFinal, "transformer.ln_f", "output_norm"),
                               norm_bias(kNormAttn, block + "ln_1", "blk.{}.attn_norm"),
                               attention(block + "attn.", "out_proj", never, never),
                               plain_mlp(block + "mlp.fc_in", block + "mlp.fc_out", needed::always)}));
  spec.traits.parallel = true;
  spec.traits.rotates_pairs = true;
  spec.keys = kShortKeys;
  spec.keys.context.fallback = "2048";
  spec.configure = configure_gptj;
  spec.activation_key = "activation_function";
  spec.prefix = "transformer.";
  spec.ignored_tensors = {"transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"};
  spec.about = "one norm a block; part of a head rotates; a bias on the head";
  return spec;
}

// ---- gpt_neox

void configure_neox(const ConfigReader& read, ModelConfig& config) {
  config.traits.parallel = read.flag_or("use_parallel_residual", true);
  config.attention_bias = read.flag_or("attention_bias", true);
  config.ropes = {
      read_rope(read, config, nullptr, read.number_or("rotary_emb_base", 10000), read.number_or("rotary_pct", 0.25))};
}

FamilySpec gpt_neox() {
  const std::string block = "gpt_neox.layers.{}.";
  FamilySpec spec = base(
      "gpt_neox", "GPTNeoXForCausalLM", "gelu",
      join(
          {{weight(kEmbed, "gpt_neox.embed_in.weight", "token_embd.weight"),
            weight(kHead, "embed_out.weight", "output.weight", needed::unless_tied)},
           norm_bias(kNormFinal, "gpt_neox.final_layer_norm", "output_norm"),
           norm_bias(kNormAttn, block + "input_layernorm", "blk.{}.attn_norm"),
           fused_qkv(block + "attention.query_key_value", "blk.{}.attn_qkv", Fused::kPerKvHead, needed::attention_bias),
           {weight(kO, block + "attention.dense.weight", "blk.{}.attn_output.weight"),
            weight(kOBias, block + "attention.dense.bias", "blk.{}.attn_output.bias", needed::attention_bias)},
           norm_bias(kNormMlp, block + "post_attention_layernorm", "blk.{}.ffn_norm"),
           plain_mlp(block + "mlp.dense_h_to_4h", block + "mlp.dense_4h_to_h", needed::always)}));
  spec.keys.kv_heads = {"", "", "heads"};
  spec.prefix = "gpt_neox.";
  spec.ignored_tensors = {"gpt_neox.layers.{}.attention.bias", "gpt_neox.layers.{}.attention.masked_bias",
                          "gpt_neox.layers.{}.attention.rotary_emb.inv_freq"};
  spec.configure = configure_neox;
  spec.about = "fused q/k/v head by head; sequential blocks by flag; part of a head rotates";
  return spec;
}

// ---- phi, opt, starcoder2

void configure_phi(const ConfigReader& read, ModelConfig& config) {
  config.ropes = {read_rope(read, config, nullptr, 10000, 0.5)};
}

FamilySpec phi() {
  const std::string block = "model.layers.{}.";
  FamilySpec spec = base("phi", "PhiForCausalLM", "gelu_new",
                         join({trunk_bias("model.final_layernorm"),
                               {weight(kHeadBias, "lm_head.bias", "output.bias")},
                               norm_bias(kNormAttn, block + "input_layernorm", "blk.{}.attn_norm"),
                               attention(block + "self_attn.", "dense", needed::always, needed::always),
                               plain_mlp(block + "mlp.fc1", block + "mlp.fc2", needed::always)}));
  spec.traits.parallel = true;
  spec.keys.kv_heads.fallback = "heads";
  spec.configure = configure_phi;
  spec.about = "one norm a block; part of a head rotates; a bias on the head";
  return spec;
}

void configure_opt(const ConfigReader& read, ModelConfig& config) {
  if (!read.flag_or("do_layer_norm_before", true))
    fail(Code::kModel,
         "cannot load {}: 'do_layer_norm_before' = false (norms behind the residual add) is not supported",
         read.origin());
  if (const int64_t width = read.count_or("word_embed_proj_dim", config.width); width != config.width)
    fail(Code::kModel,
         "cannot load {}: 'word_embed_proj_dim' = {} differs from 'hidden_size' = {}, which is not supported",
         read.origin(), width, config.width);
  if (!read.flag_or("layer_norm_elementwise_affine", true))
    fail(Code::kModel, "cannot load {}: 'layer_norm_elementwise_affine' = false is not supported", read.origin());
  config.eps = 1e-5;
  config.attention_bias = config.mlp_bias = read.flag_or("enable_bias", true);
}

FamilySpec opt() {
  const std::string block = "model.decoder.layers.{}.";
  FamilySpec spec =
      base("opt", "OPTForCausalLM", "relu",
           join({{weight(kEmbed, "model.decoder.embed_tokens.weight", ""),
                  weight(kPositions, "model.decoder.embed_positions.weight", ""),
                  weight(kHead, "lm_head.weight", "", needed::unless_tied)},
                 norm_bias(kNormFinal, "model.decoder.final_layer_norm", ""),
                 norm_bias(kNormAttn, block + "self_attn_layer_norm", ""),
                 attention(block + "self_attn.", "out_proj", needed::attention_bias, needed::attention_bias),
                 norm_bias(kNormMlp, block + "final_layer_norm", ""),
                 plain_mlp(block + "fc1", block + "fc2", needed::mlp_bias)}));
  spec.traits.position = Position::kLearned;
  spec.traits.position_offset = 2;
  spec.keys.kv_heads = {"", "", "heads"};
  spec.keys.hidden = {"ffn_dim", "", ""};
  spec.activation_key = "activation_function";
  spec.ties_by_default = true;
  spec.configure = configure_opt;
  spec.about = "positions from row 2; tied; norms before the blocks only";
  return spec;
}

void configure_starcoder2(const ConfigReader& read, ModelConfig& config) {
  config.attention_bias = config.mlp_bias = read.flag_or("use_bias", true);
  set_windows(read, config, read.count_or("sliding_window", 0), every_layer);
}

FamilySpec starcoder2() {
  const std::string block = "model.layers.{}.";
  FamilySpec spec =
      base("starcoder2", "Starcoder2ForCausalLM", "gelu_pytorch_tanh",
           join({trunk_bias(), norm_bias(kNormAttn, block + "input_layernorm", "blk.{}.attn_norm"),
                 attention(block + "self_attn.", "o_proj", needed::attention_bias, needed::attention_bias),
                 norm_bias(kNormMlp, block + "post_attention_layernorm", "blk.{}.ffn_norm"),
                 plain_mlp(block + "mlp.c_fc", block + "mlp.c_proj", needed::mlp_bias)}));
  spec.keys.eps = {"norm_epsilon", "attention.layer_norm_epsilon", "1e-5"};
  spec.keys.kv_heads.fallback = "2";
  spec.ties_by_default = true;
  spec.configure = configure_starcoder2;
  spec.about = "sliding window; tied";
  return spec;
}

// ---- falcon

bool two_norms(const ModelConfig& config, int64_t) { return config.traits.parallel && config.parallel_norms == 2; }
bool one_norm(const ModelConfig& config, int64_t layer) { return !two_norms(config, layer); }
bool sequential(const ModelConfig& config, int64_t) { return !config.traits.parallel; }

void configure_falcon(const ConfigReader& read, ModelConfig& config) {
  const bool renewed = read.flag_or("new_decoder_architecture", false);
  const bool one_key = read.flag_or("multi_query", true);
  config.kv_heads = renewed ? read.count_or("num_kv_heads", config.heads) : one_key ? 1 : config.heads;
  read.find("num_kv_heads");
  config.traits.parallel = renewed || read.flag_or("parallel_attn", true);
  read.find("parallel_attn");
  config.parallel_norms = renewed ? read.count_or("num_ln_in_parallel_attn", 2) : 1;
  config.attention_bias = config.mlp_bias = read.flag_or("bias", false);
  if (read.flag_or("alibi", false)) config.traits.position = Position::kAlibi;
}

// Without multi-query every head has its own key; with it there is one group.
FamilySpec falcon() {
  const std::string block = "transformer.h.{}.";
  FamilySpec spec = base(
      "falcon", "FalconForCausalLM", "gelu",
      join({{weight(kEmbed, "transformer.word_embeddings.weight", "token_embd.weight"),
             weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied)},
            norm_bias(kNormFinal, "transformer.ln_f", "output_norm"),
            norm_bias(kNormAttn, block + "input_layernorm", "blk.{}.attn_norm", one_norm),
            norm_bias(kNormAttn, block + "ln_attn", "blk.{}.attn_norm_2", two_norms),
            fused_qkv(block + "self_attention.query_key_value", "blk.{}.attn_qkv", Fused::kPerKvHead,
                      needed::attention_bias),
            {weight(kO, block + "self_attention.dense.weight", "blk.{}.attn_output.weight"),
             weight(kOBias, block + "self_attention.dense.bias", "blk.{}.attn_output.bias", needed::attention_bias)},
            norm_bias(kNormMlp, block + "post_attention_layernorm", "", sequential),
            norm_bias(kNormMlp, block + "ln_mlp", "blk.{}.attn_norm", two_norms),
            plain_mlp(block + "mlp.dense_h_to_4h", block + "mlp.dense_4h_to_h", needed::mlp_bias)}));
  spec.model_types = {"falcon", "RefinedWeb", "RefinedWebModel"};
  spec.keys.eps = {"layer_norm_epsilon", "attention.layer_norm_epsilon", "1e-5"};
  spec.keys.kv_heads = {"", "", "heads"};
  spec.keys.hidden = {"ffn_hidden_size", "feed_forward_length", "4*width"};
  spec.keys.context.fallback = "2048";
  spec.activation_key = "activation";
  spec.prefix = "transformer.";
  spec.ties_by_default = true;
  spec.configure = configure_falcon;
  spec.about = "fused q/k/v by key head; ALiBi, multi-query, parallel and new-architecture blocks by flag; tied";
  return spec;
}

}  // namespace

const std::vector<FamilySpec>& gpt_families() {
  static const std::vector<FamilySpec> kAll = {gpt2(), gptj(), gpt_neox(), phi(), opt(), starcoder2(), falcon()};
  return kAll;
}

}  // namespace suture::model
