// SPDX-License-Identifier: Apache-2.0
// The family table.
#include <array>

#include "model/family.h"

namespace suture::model {
namespace {

using enum Part;

// Tensor rules of the llama shape: RMS norm, rotary positions, gated MLP, separate projections.
constexpr TensorRule kLlamaRules[] = {
    {kEmbed, "model.embed_tokens.weight", "token_embd.weight"},
    {kNormFinal, "model.norm.weight", "output_norm.weight"},
    {kHead, "lm_head.weight", "output.weight", Need::kUnlessTied},
    {kNormAttn, "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {kQ, "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Need::kAlways, Layout::kOutIn,
     Slice::kWhole, true},
    {kQBias, "model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Need::kIfAttentionBias, Layout::kOutIn,
     Slice::kWhole, true},
    {kK, "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Need::kAlways, Layout::kOutIn,
     Slice::kWhole, true},
    {kKBias, "model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Need::kIfAttentionBias, Layout::kOutIn,
     Slice::kWhole, true},
    {kV, "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {kVBias, "model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Need::kIfAttentionBias},
    {kO, "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {kOBias, "model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", Need::kIfAttentionBias},
    {kNormMlp, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {kGate, "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {kGateBias, "model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", Need::kIfMlpBias},
    {kUp, "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {kUpBias, "model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", Need::kIfMlpBias},
    {kDown, "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {kDownBias, "model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", Need::kIfMlpBias},
};
constexpr std::string_view kLlamaTypes[] = {"llama"};
constexpr std::string_view kLlamaGguf[] = {"llama"};
constexpr std::string_view kLlamaIgnored[] = {"model.layers.{}.self_attn.rotary_emb.inv_freq", "rope.freqs"};
constexpr ConfigKeys kLlamaKeys = {
    .layers = {"num_hidden_layers", "block_count", ""},
    .width = {"hidden_size", "embedding_length", ""},
    .heads = {"num_attention_heads", "attention.head_count", ""},
    .kv_heads = {"num_key_value_heads", "attention.head_count_kv", "heads"},
    .head_dim = {"head_dim", "attention.key_length", "width/heads"},
    .hidden = {"intermediate_size", "feed_forward_length", ""},
    .context = {"max_position_embeddings", "context_length", ""},
    .eps = {"rms_norm_eps", "attention.layer_norm_rms_epsilon", "1e-6"},
};
constexpr FamilySpec kLlama = {
    .name = "llama",
    .class_name = "LlamaForCausalLM",
    .model_types = kLlamaTypes,
    .gguf_architectures = kLlamaGguf,
    .traits = {.norm = Norm::kRms, .gated = true, .position = Position::kRope},
    .keys = kLlamaKeys,
    .activation_key = "hidden_act",
    .default_activation = "silu",
    .attention_bias_flag = "attention_bias",
    .mlp_bias_flag = "mlp_bias",
    .rules = kLlamaRules,
    .prefix = "model.",
    .ignored_tensors = kLlamaIgnored,
    .ties_by_default = false,
    .baking_note =
        "transformers and llama.cpp load attention and MLP biases; vLLM loads both; SGLang ignores MLP biases",
};

// Mistral without a sliding window computes what the llama shape computes, but its class has no place for biases.
constexpr std::string_view kMistralTypes[] = {"mistral"};
constexpr FamilySpec make_mistral() {
  FamilySpec spec = kLlama;
  spec.name = "mistral";
  spec.class_name = "MistralForCausalLM";
  spec.model_types = kMistralTypes;
  spec.gguf_architectures = {};
  spec.keys.kv_heads.fallback = "8";
  spec.attention_bias_flag = "none";
  spec.mlp_bias_flag = "none";
  spec.window_when_absent = 4096;
  spec.baking_note = "this class has no bias to hold a constant vector";
  return spec;
}
constexpr FamilySpec kMistral = make_mistral();

constexpr TensorRule kGpt2Rules[] = {
    {kEmbed, "transformer.wte.weight", "token_embd.weight"},
    {kPositions, "transformer.wpe.weight", "position_embd.weight"},
    {kNormFinal, "transformer.ln_f.weight", "output_norm.weight"},
    {kNormFinalBias, "transformer.ln_f.bias", "output_norm.bias"},
    {kHead, "lm_head.weight", "output.weight", Need::kUnlessTied},
    {kNormAttn, "transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
    {kNormAttnBias, "transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias"},
    {kQ, "transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", Need::kAlways, Layout::kInOut,
     Slice::kFirstThird},
    {kQBias, "transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", Need::kAlways, Layout::kInOut,
     Slice::kFirstThird},
    {kK, "transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", Need::kAlways, Layout::kInOut,
     Slice::kSecondThird},
    {kKBias, "transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", Need::kAlways, Layout::kInOut,
     Slice::kSecondThird},
    {kV, "transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", Need::kAlways, Layout::kInOut,
     Slice::kLastThird},
    {kVBias, "transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", Need::kAlways, Layout::kInOut,
     Slice::kLastThird},
    {kO, "transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight", Need::kAlways, Layout::kInOut},
    {kOBias, "transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias"},
    {kNormMlp, "transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
    {kNormMlpBias, "transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias"},
    {kUp, "transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", Need::kAlways, Layout::kInOut},
    {kUpBias, "transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias"},
    {kDown, "transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", Need::kAlways, Layout::kInOut},
    {kDownBias, "transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias"},
};
constexpr std::string_view kGpt2Types[] = {"gpt2"};
constexpr std::string_view kGpt2Gguf[] = {"gpt2"};
constexpr std::string_view kGpt2Ignored[] = {"transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias"};
constexpr FamilySpec kGpt2 = {
    .name = "gpt2",
    .class_name = "GPT2LMHeadModel",
    .model_types = kGpt2Types,
    .gguf_architectures = kGpt2Gguf,
    .traits = {.norm = Norm::kLayer, .gated = false, .position = Position::kLearned},
    .keys = {.layers = {"n_layer", "block_count", ""},
             .width = {"n_embd", "embedding_length", ""},
             .heads = {"n_head", "attention.head_count", ""},
             .kv_heads = {"", "", "heads"},
             .head_dim = {"", "", "width/heads"},
             .hidden = {"n_inner", "feed_forward_length", "4*width"},
             .context = {"n_positions", "context_length", "1024"},
             .eps = {"layer_norm_epsilon", "attention.layer_norm_epsilon", "1e-5"}},
    .activation_key = "activation_function",
    .default_activation = "gelu_new",
    .attention_bias_flag = "",
    .mlp_bias_flag = "",
    .rules = kGpt2Rules,
    .prefix = "transformer.",
    .ignored_tensors = kGpt2Ignored,
    .ties_by_default = true,
    .baking_note = "every engine loads this class's biases",
};

constexpr const FamilySpec* kFamilies[] = {&kLlama, &kMistral, &kGpt2};

}  // namespace

std::span<const FamilySpec* const> families() { return kFamilies; }

}  // namespace suture::model
