// SPDX-License-Identifier: Apache-2.0
#include "model/family_parts.h"

namespace suture::model {

std::span<const FamilySpec* const> families() {
  static const std::vector<const FamilySpec*> kAll = [] {
    std::vector<const FamilySpec*> all;
    for (const auto* part : {&llama_families(), &gpt_families(), &sparse_families()})
      for (const FamilySpec& family : *part) all.push_back(&family);
    return all;
  }();
  return kAll;
}

}  // namespace suture::model
