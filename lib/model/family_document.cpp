// SPDX-License-Identifier: Apache-2.0
#include "model/family_document.h"

#include "model/bake.h"
#include "model/family.h"

namespace suture::model {
namespace {

std::string listed(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += fmt::format("{}`{}`", text.empty() ? "" : ", ", name);
  return text.empty() ? "–" : text;
}

std::string norm_text(const Traits& traits) {
  const std::string_view kind = traits.norm == Norm::kLayer   ? "layer"
                                : traits.norm == Norm::kPlain ? "layer, without weights"
                                : traits.norm == Norm::kRms   ? "RMS"
                                                              : "RMS, 1 + w";
  const std::string_view place = traits.placement == Placement::kBefore  ? "before"
                                 : traits.placement == Placement::kAfter ? "after"
                                                                         : "before and after";
  return fmt::format("{}; {}{}", kind, place, traits.parallel ? "; parallel" : "");
}

std::string position_text(const FamilySpec& family) {
  if (family.traits.position == Position::kLearned) return "learned";
  return family.traits.rotates_pairs ? "rotary, neighbouring pairs" : "rotary, halves";
}

std::string attention_text(const Traits& traits) {
  return traits.qk_norm == QkNorm::kHead    ? "norm on each head's q and k"
         : traits.qk_norm == QkNorm::kWhole ? "norm on all of q and of k"
                                            : "–";
}

std::string mlp_text(const FamilySpec& family) {
  const bool sparse = rule_of(family, Part::kRouter) != nullptr;
  return fmt::format("{}{}", sparse ? "experts, " : "", family.traits.gated ? "gated" : "plain");
}

std::string places_text(const FamilySpec& family) {
  std::string text;
  for (const std::string& place : baking_places(family)) text += (text.empty() ? "" : "; ") + place;
  return text.empty() ? "nowhere" : text;
}

}  // namespace

std::string families_markdown() {
  std::string text =
      "# Families\n\n"
      "What `suture` computes as transformers 5.24 does, checked on a tiny checkpoint of each "
      "(`tests/model/families_test.cpp`). "
      "`suture inspect --families` prints this page.\n"
      "Any other model type is refused by name, and so is a configuration key that changes the computation and is not "
      "read.\n\n"
      "Rotary scaling of every rotary family: default, linear, dynamic, yarn, llama3, longrope.\n\n"
      "| family | model types | GGUF | norms | positions | q and k | MLP | of its own "
      "|\n|---|---|---|---|---|---|---|---|\n";
  for (const FamilySpec* family : families())
    text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", family->name, listed(family->model_types),
                        listed(family->gguf_architectures), norm_text(family->traits), position_text(*family),
                        attention_text(family->traits), mlp_text(*family), family->about.empty() ? "–" : family->about);
  text +=
      "\n## Where a constant vector can be baked\n\n"
      "A bias adds the same vector at every position. `resid_out` needs a projection that reaches the residual stream "
      "unchanged.\n\n"
      "| family | places | engines |\n|---|---|---|\n";
  for (const FamilySpec* family : families())
    text += fmt::format("| {} | {} | {} |\n", family->name, places_text(*family), family->baking_note);
  return text;
}

}  // namespace suture::model
