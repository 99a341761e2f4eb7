// SPDX-License-Identifier: Apache-2.0
// Constant vectors written into biases, where that is exact.
//
// Exact places: the output of a block = its down projection's bias (site mlp_out or resid_out), and the attention's
// output = its output projection's bias (site attn_out), for every token. A family without such a bias, or with a
// config flag that would switch on others, gets zeros for those. Everything else is refused with the reason.
#pragma once
#include "hook/plan.h"
#include "model/checkpoint.h"

namespace suture::model {

struct Baked {
  Changes changes;                          // tensors changed or added, and config.json when a flag was switched on
  std::vector<std::string> added, changed;  // tensor names
  std::vector<std::string> flags;           // config keys set to true
  std::string engines;                      // which engines honour the result
};

// Error(kModel) with the reason and what to do instead when the plan cannot be held by biases: a gate, tokens other
// than all, an action other than add, a site or a family without a bias.
Baked bake(const Checkpoint& checkpoint, const hook::Plan& plan);

// One line a site: where this checkpoint can hold a constant vector.
std::vector<std::string> baking_places(const FamilySpec& family);

}  // namespace suture::model
