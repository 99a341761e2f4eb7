// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <array>

#include "core/error.h"

namespace suture::model {
namespace {

constexpr std::string_view kPartNames[] = {
    "embed",          "positions", "norm_final",  "norm_final.bias", "head",          "attn.norm",
    "attn.norm.bias", "attn.q",    "attn.q.bias", "attn.k",          "attn.k.bias",   "attn.v",
    "attn.v.bias",    "attn.o",    "attn.o.bias", "mlp.norm",        "mlp.norm.bias", "mlp.gate",
    "mlp.gate.bias",  "mlp.up",    "mlp.up.bias", "mlp.down",        "mlp.down.bias"};
static_assert(std::size(kPartNames) == size_t(Part::kDownBias) + 1);

bool contains(std::span<const std::string_view> list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

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

std::string with_layer(std::string_view pattern, int64_t layer) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, hole), layer, pattern.substr(hole + 2));
}

at::Tensor logical_view(const at::Tensor& file_tensor, const TensorRule& rule) {
  const at::Tensor whole = rule.layout == Layout::kInOut && file_tensor.dim() == 2 ? file_tensor.t() : file_tensor;
  if (rule.slice == Slice::kWhole) return whole;
  const int64_t third = whole.size(0) / 3;
  if (third * 3 != whole.size(0))
    fail(Code::kFile, "cannot split {} into q, k and v: {} rows are not a multiple of 3", name(rule.part),
         whole.size(0));
  return whole.narrow(0, third * (int64_t(rule.slice) - int64_t(Slice::kFirstThird)), third);
}

}  // namespace suture::model
