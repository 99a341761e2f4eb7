// SPDX-License-Identifier: Apache-2.0
// The parts of the family table. Private to lib/model.
#pragma once
#include <vector>

#include "model/family.h"

namespace suture::model {

const std::vector<FamilySpec>& llama_families();
const std::vector<FamilySpec>& gpt_families();
const std::vector<FamilySpec>& sparse_families();

}  // namespace suture::model
