// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "model/config.h"

namespace suture::model {
namespace {

constexpr std::string_view kPartNames[] = {"embed",
                                           "positions",
                                           "norm_final",
                                           "norm_final.bias",
                                           "head",
                                           "head.bias",
                                           "attn.norm",
                                           "attn.norm.bias",
                                           "attn.q",
                                           "attn.q.bias",
                                           "attn.k",
                                           "attn.k.bias",
                                           "attn.v",
                                           "attn.v.bias",
                                           "attn.o",
                                           "attn.o.bias",
                                           "attn.q_norm",
                                           "attn.k_norm",
                                           "attn.sinks",
                                           "attn.post_norm",
                                           "mlp.norm",
                                           "mlp.norm.bias",
                                           "mlp.gate",
                                           "mlp.gate.bias",
                                           "mlp.up",
                                           "mlp.up.bias",
                                           "mlp.down",
                                           "mlp.down.bias",
                                           "mlp.post_norm",
                                           "mlp.router",
                                           "mlp.router.bias",
                                           "mlp.shared.gate",
                                           "mlp.shared.up",
                                           "mlp.shared.down",
                                           "mlp.shared.router",
                                           "mlp.expert.gate",
                                           "mlp.expert.gate.bias",
                                           "mlp.expert.up",
                                           "mlp.expert.up.bias",
                                           "mlp.expert.down",
                                           "mlp.expert.down.bias"};
static_assert(std::size(kPartNames) == size_t(kParts));

bool contains(const std::vector<std::string_view>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// Rows of `rule`'s part inside a fused matrix, as an index expression that views where it can.
at::Tensor per_kv_head(const at::Tensor& whole, Slice slice, const ModelConfig& config) {
  std::vector<int64_t> shape = whole.sizes().vec();
  shape.erase(shape.begin());
  const int64_t group = config.group();
  for (const int64_t n : {config.head_dim, group + 2, config.kv_heads}) shape.insert(shape.begin(), n);
  const at::Tensor heads = whole.view(shape);  // [kv, group + 2, d, ...]
  if (slice == Slice::kQ) return heads.narrow(1, 0, group);
  return heads.narrow(1, slice == Slice::kK ? group : group + 1, 1);
}

at::Tensor stacked(const at::Tensor& whole, Slice slice, const ModelConfig& config) {
  const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim, half = whole.size(0) / 2;
  switch (slice) {
    case Slice::kQ:
      return whole.narrow(0, 0, q);
    case Slice::kK:
      return whole.narrow(0, q, kv);
    case Slice::kV:
      return whole.narrow(0, q + kv, kv);
    case Slice::kGate:
      return whole.narrow(0, 0, half);
    case Slice::kUp:
      return whole.narrow(0, half, half);
    case Slice::kWhole:
      break;
  }
  return whole;
}

// The strided region of the file's tensor; per-key-head regions keep their three leading axes.
at::Tensor region(const at::Tensor& file_tensor, const TensorRule& rule, const ModelConfig& config, int64_t expert) {
  const at::Tensor one = rule.expert_axis ? file_tensor.select(0, expert) : file_tensor;
  const at::Tensor whole = rule.layout == Layout::kInOut && one.dim() == 2 ? one.t() : one;
  if (rule.slice == Slice::kWhole) return whole;
  switch (rule.fused) {
    case Fused::kPerKvHead:
      return per_kv_head(whole, rule.slice, config);
    case Fused::kAlternating:
      return whole.slice(0, rule.slice == Slice::kGate ? 0 : 1, std::nullopt, 2);
    case Fused::kStacked:
      break;
  }
  return stacked(whole, rule.slice, config);
}

}  // namespace

namespace needed {
bool always(const ModelConfig&, int64_t) { return true; }
bool unless_tied(const ModelConfig& config, int64_t) { return !config.tied; }
bool attention_bias(const ModelConfig& config, int64_t) { return config.attention_bias; }
bool mlp_bias(const ModelConfig& config, int64_t) { return config.mlp_bias; }
bool dense(const ModelConfig& config, int64_t layer) { return !config.layer[size_t(layer)].sparse; }
bool dense_bias(const ModelConfig& config, int64_t layer) { return dense(config, layer) && config.mlp_bias; }
bool sparse(const ModelConfig& config, int64_t layer) { return config.layer[size_t(layer)].sparse; }
}  // namespace needed

std::string_view name(Part part) { return kPartNames[size_t(part)]; }

const FamilySpec* family_for_type(std::string_view model_type) {
  for (const FamilySpec* family : families())
    if (contains(family->model_types, model_type)) return family;
  return nullptr;
}

const FamilySpec* family_for_gguf(std::string_view architecture) {
  for (const FamilySpec* family : families())
    if (contains(family->gguf_architectures, architecture)) return family;
  return nullptr;
}

std::string family_types() {
  std::string all;
  for (const FamilySpec* family : families())
    for (const std::string_view type : family->model_types) all += (all.empty() ? "" : ", ") + std::string(type);
  return all;
}

const TensorRule* rule_of(const FamilySpec& family, Part part) {
  for (const TensorRule& rule : family.rules)
    if (rule.part == part) return &rule;
  return nullptr;
}

std::string with_layer(std::string_view pattern, int64_t layer, int64_t expert) {
  std::string text(pattern);
  const auto put = [&text](std::string_view hole, int64_t number) {
    if (const size_t at = text.find(hole); at != std::string::npos)
      text.replace(at, hole.size(), std::to_string(number));
  };
  put("{}", layer);
  put("{e}", expert);
  return text;
}

at::Tensor logical_view(const at::Tensor& file_tensor, const TensorRule& rule, const ModelConfig& config,
                        int64_t expert) {
  const at::Tensor part = region(file_tensor, rule, config, expert);
  return rule.slice != Slice::kWhole && rule.fused == Fused::kPerKvHead ? part.flatten(0, 2) : part;
}

void write_logical(const at::Tensor& file_tensor, const TensorRule& rule, const ModelConfig& config, int64_t expert,
                   const at::Tensor& value) {
  at::Tensor part = region(file_tensor, rule, config, expert);
  part.copy_(value.reshape(part.sizes()));
}

}  // namespace suture::model
