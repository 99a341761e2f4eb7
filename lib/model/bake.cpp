// SPDX-License-Identifier: Apache-2.0
#include "model/bake.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

namespace suture::model {
namespace {

constexpr std::string_view kInstead = "keep it as a plan for decode time (suture generate --plan)";

struct BiasPlace {
  Part part;
  std::string_view flag;  // config key that must be true; empty: the bias is always there
};

std::optional<BiasPlace> place_of(const FamilySpec& family, hook::Site site) {
  const bool mlp = site == hook::Site::kMlpOut || site == hook::Site::kResidOut;
  if (!mlp && site != hook::Site::kAttnOut) return std::nullopt;
  const BiasPlace place =
      mlp ? BiasPlace{Part::kDownBias, family.mlp_bias_flag} : BiasPlace{Part::kOBias, family.attention_bias_flag};
  if (place.flag == "none" || rule_of(family, place.part) == nullptr) return std::nullopt;
  return place;
}

void refuse_unless_constant(const hook::Plan& plan) {
  if (plan.gate) fail(Code::kModel, "cannot bake: the plan has a gate, and a bias acts on every prompt; {}", kInstead);
  for (const hook::Intervention& i : plan.interventions) {
    if (i.action != hook::Action::kAdd)
      fail(Code::kModel, "cannot bake '{}': a bias can add a vector, not {}; {}", i.label, hook::name(i.action),
           kInstead);
    if (i.where.kind != hook::Where::Kind::kAll)
      fail(Code::kModel,
           "cannot bake '{}': a bias acts on all tokens, the plan on '{}'; set tokens: all to mean that, or {}",
           i.label, i.where.text(), kInstead);
  }
}

// A bias of the projection reaches the residual stream unchanged only where no norm and no factor stands between.
void refuse_if_changed_on_the_way(const Checkpoint& checkpoint, const hook::Intervention& i) {
  const ModelConfig& config = checkpoint.config();
  if (i.at.site != hook::Site::kResidOut) return;
  if (config.traits.placement != Placement::kBefore || config.residual_scale != 1)
    fail(Code::kModel, "cannot bake '{}' at {}: {} stands between the bias and the residual stream; {}", i.label,
         hook::name(i.at.site), config.residual_scale != 1 ? "a factor" : "a norm", kInstead);
}

// The weight that a bias belongs to: it stands just before it in Part.
WeightId weight_of(Part bias, int64_t layer) { return {Part(int(bias) - 1), layer}; }

// The file's name for a bias that need not be there yet: its weight's name with another ending.
std::string bias_name(const Checkpoint& checkpoint, Part bias, int64_t layer) {
  const std::string weight = checkpoint.tensor_name(weight_of(bias, layer));
  return weight.substr(0, weight.size() - std::string_view("weight").size()) + "bias";
}

// Every bias that a config flag switches on must exist in every layer; absent ones are zero.
void add_zero_biases(const Checkpoint& checkpoint, Needed needed, Baked& baked) {
  const ModelConfig& config = checkpoint.config();
  for (const TensorRule& rule : checkpoint.family().rules) {
    if (rule.needed != needed) continue;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const int64_t width = checkpoint.weight_shape(weight_of(rule.part, layer))[0];
      std::string name = bias_name(checkpoint, rule.part, layer);
      baked.changes.tensors[name] = at::zeros({width}, checkpoint.main_dtype());
      baked.added.push_back(std::move(name));
    }
  }
}

void switch_on(const Checkpoint& checkpoint, const BiasPlace& place, Json& config, Baked& baked) {
  const std::string flag(place.flag);
  if (flag.empty() || config.value(flag, false)) return;
  config[flag] = true;
  baked.flags.push_back(flag);
  add_zero_biases(checkpoint, place.part == Part::kDownBias ? needed::mlp_bias : needed::attention_bias, baked);
}

void add_bias(const Checkpoint& checkpoint, Part part, const hook::Intervention& i, Baked& baked) {
  const std::string name = bias_name(checkpoint, part, i.at.layer);
  auto it = baked.changes.tensors.find(name);
  if (it == baked.changes.tensors.end()) {
    it = baked.changes.tensors.emplace(name, checkpoint.tensor(name).clone()).first;
    baked.changed.push_back(name);
  }
  // A GGUF source is written in fp32, so nothing may be rounded to a stored half here.
  const at::ScalarType dtype = checkpoint.is_gguf() ? at::kFloat : it->second.scalar_type();
  it->second = (it->second.to(at::kFloat) + i.vector_D.to(at::kFloat) * i.scale).to(dtype);
}

}  // namespace

Baked bake(const Checkpoint& checkpoint, const hook::Plan& plan) {
  if (plan.empty()) fail(Code::kConfig, "cannot bake: the plan has no interventions");
  refuse_unless_constant(plan);
  Baked baked;
  Json config = checkpoint.config_json();
  for (const hook::Intervention& i : plan.interventions) {
    const auto place = place_of(checkpoint.family(), i.at.site);
    refuse_if_changed_on_the_way(checkpoint, i);
    if (!place || (place->flag.empty() && !checkpoint.has({place->part, i.at.layer})))
      fail(Code::kModel, "cannot bake '{}' at {}: model type '{}' has no bias there ({}); {}", i.label,
           hook::name(i.at.site), checkpoint.config_json().value("model_type", ""), checkpoint.family().baking_note,
           kInstead);
    switch_on(checkpoint, *place, config, baked);
    add_bias(checkpoint, place->part, i, baked);
  }
  if (!baked.flags.empty()) baked.changes.files["config.json"] = to_text(config);
  baked.engines = checkpoint.family().baking_note;
  return baked;
}

std::vector<std::string> baking_places(const FamilySpec& family) {
  std::vector<std::string> lines;
  for (const hook::Site site : {hook::Site::kAttnOut, hook::Site::kMlpOut, hook::Site::kResidOut}) {
    const auto place = place_of(family, site);
    if (!place) continue;
    lines.push_back(fmt::format("{}: {}{}", hook::name(site), name(place->part),
                                place->flag.empty() ? "" : fmt::format(" (config flag {})", place->flag)));
  }
  return lines;
}

}  // namespace suture::model
