// SPDX-License-Identifier: Apache-2.0
#include "model/family_rules.h"

namespace suture::model::rules {

using enum Part;

Rules join(std::initializer_list<Rules> groups) {
  Rules all;
  for (const Rules& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}

bool never(const ModelConfig&, int64_t) { return false; }
bool every_layer(int64_t) { return true; }
bool even_layer(int64_t layer) { return layer % 2 == 0; }

TensorRule weight(Part part, std::string name, std::string gguf, Needed needed) {
  return {part, std::move(name), std::move(gguf), needed};
}

Rules norm(Part part, std::string name, std::string gguf, Needed needed) {
  return {weight(part, name + ".weight", gguf.empty() ? "" : gguf + ".weight", needed)};
}

Rules norm_bias(Part part, std::string name, std::string gguf, Needed needed) {
  return {weight(part, name + ".weight", gguf.empty() ? "" : gguf + ".weight", needed),
          weight(Part(int(part) + 1), name + ".bias", gguf.empty() ? "" : gguf + ".bias", needed)};
}

Rules attention(const std::string& at, const std::string& o, Needed qkv_bias, Needed o_bias, bool permuted) {
  Rules all;
  const auto add = [&](Part part, const std::string& name, const std::string& gguf, Needed bias, bool turned) {
    TensorRule w = weight(part, at + name + ".weight", "blk.{}." + gguf + ".weight");
    TensorRule b = weight(Part(int(part) + 1), at + name + ".bias", "blk.{}." + gguf + ".bias", bias);
    w.rope_permuted_in_gguf = b.rope_permuted_in_gguf = turned;
    all.push_back(std::move(w));
    if (bias != never) all.push_back(std::move(b));
  };
  add(kQ, "q_proj", "attn_q", qkv_bias, permuted);
  add(kK, "k_proj", "attn_k", qkv_bias, permuted);
  add(kV, "v_proj", "attn_v", qkv_bias, false);
  add(kO, o, "attn_output", o_bias, false);
  return all;
}

Rules gated_mlp(const std::string& at, Needed needed, Needed bias) {
  Rules all;
  const auto add = [&](Part part, const std::string& name, const std::string& gguf) {
    all.push_back(weight(part, at + name + ".weight", "blk.{}." + gguf + ".weight", needed));
    if (bias != never)
      all.push_back(weight(Part(int(part) + 1), at + name + ".bias", "blk.{}." + gguf + ".bias", bias));
  };
  add(kGate, "gate_proj", "ffn_gate");
  add(kUp, "up_proj", "ffn_up");
  add(kDown, "down_proj", "ffn_down");
  return all;
}

Rules fused_gated_mlp(const std::string& at) {
  TensorRule gate = weight(kGate, at + "gate_up_proj.weight", "blk.{}.ffn_up.weight"), up = gate;
  gate.slice = Slice::kGate;
  up.part = kUp;
  up.slice = Slice::kUp;
  return {gate, up, weight(kDown, at + "down_proj.weight", "blk.{}.ffn_down.weight")};
}

Rules plain_mlp(const std::string& first, const std::string& second, Needed bias) {
  return {weight(kUp, first + ".weight", "blk.{}.ffn_up.weight"),
          weight(kUpBias, first + ".bias", "blk.{}.ffn_up.bias", bias),
          weight(kDown, second + ".weight", "blk.{}.ffn_down.weight"),
          weight(kDownBias, second + ".bias", "blk.{}.ffn_down.bias", bias)};
}

Rules fused_qkv(const std::string& name, const std::string& gguf, Fused fused, Needed bias) {
  Rules all;
  for (const auto& [part, slice] : {std::pair{kQ, Slice::kQ}, std::pair{kK, Slice::kK}, std::pair{kV, Slice::kV}}) {
    TensorRule w = weight(part, name + ".weight", gguf + ".weight");
    TensorRule b = weight(Part(int(part) + 1), name + ".bias", gguf + ".bias", bias);
    w.slice = b.slice = slice;
    w.fused = b.fused = fused;
    all.push_back(std::move(w));
    if (bias != never) all.push_back(std::move(b));
  }
  return all;
}

Rules experts(const std::string& at, const std::string& gate, const std::string& up, const std::string& down) {
  Rules all;
  for (const auto& [part, name, gguf] :
       {std::tuple{kExpertGate, gate, "ffn_gate_exps"}, std::tuple{kExpertUp, up, "ffn_up_exps"},
        std::tuple{kExpertDown, down, "ffn_down_exps"}})
    all.push_back(
        weight(part, at + "{e}." + name + ".weight", "blk.{}." + std::string(gguf) + ".weight", needed::sparse));
  return all;
}

Rules trunk(const std::string& final_norm) {
  return join({{weight(kEmbed, "model.embed_tokens.weight", "token_embd.weight")},
               norm(kNormFinal, final_norm, "output_norm"),
               {weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied)}});
}

Rules trunk_bias(const std::string& final_norm) {
  return join({{weight(kEmbed, "model.embed_tokens.weight", "token_embd.weight")},
               norm_bias(kNormFinal, final_norm, "output_norm"),
               {weight(kHead, "lm_head.weight", "output.weight", needed::unless_tied)}});
}

}  // namespace suture::model::rules
