// SPDX-License-Identifier: Apache-2.0
// Groups of tensor rules that several rows of the family table share. Private to the family_*.cpp files.
#pragma once
#include <initializer_list>

#include "model/config.h"

namespace suture::model::rules {

using Rules = std::vector<TensorRule>;

Rules join(std::initializer_list<Rules> groups);
bool never(const ModelConfig&, int64_t);

// Every function takes the name up to and with the last dot before the projection: "model.layers.{}.self_attn.".
TensorRule weight(Part part, std::string name, std::string gguf = "", Needed needed = needed::always);
Rules norm(Part weight, std::string name, std::string gguf, Needed needed = needed::always);       // weight alone
Rules norm_bias(Part weight, std::string name, std::string gguf, Needed needed = needed::always);  // and its bias
// q_proj, k_proj, v_proj and the output projection `o`. `permuted`: GGUF reorders q and k for interleaved rotation.
Rules attention(const std::string& at, const std::string& o, Needed qkv_bias, Needed o_bias, bool permuted = false);
// gate_proj, up_proj, down_proj.
Rules gated_mlp(const std::string& at, Needed needed, Needed bias);
// gate_up_proj, down_proj.
Rules fused_gated_mlp(const std::string& at);
// Two linear maps with biases, `first` and `second` being full names without ".weight".
Rules plain_mlp(const std::string& first, const std::string& second, Needed bias);
// One fused q/k/v tensor.
Rules fused_qkv(const std::string& name, const std::string& gguf, Fused fused, Needed bias);
// gate_proj, up_proj, down_proj of every expert, in tensors of their own.
Rules experts(const std::string& at, const std::string& gate, const std::string& up, const std::string& down);
// embed_tokens, the last norm and lm_head under the prefix "model.".
Rules trunk(const std::string& final_norm = "model.norm");
Rules trunk_bias(const std::string& final_norm = "model.norm");

bool every_layer(int64_t);
bool even_layer(int64_t layer);

}  // namespace suture::model::rules
