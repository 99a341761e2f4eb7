// SPDX-License-Identifier: Apache-2.0
// A change of weights as a value: low-rank additions to named logical weights.
//
// A delta never touches a checkpoint. It can be added to a loaded transformer, turned into the changed file tensors of
// a new checkpoint (rounded to the file's dtype, with a report of what the rounding left), and undone from the original
// bytes.
#pragma once
#include "model/transformer.h"

namespace suture::model {

struct LowRank {
  WeightId weight;
  at::Tensor left_OR, right_IR;  // ΔW_OI = left · rightᵀ, fp32
  at::Tensor dense() const;      // [O,I]
};

struct Rounding {
  std::string tensor;          // the file's tensor
  std::string dtype;           // it is stored as
  double change_norm = 0;      // ‖ΔW‖ as computed
  double relative_change = 0;  // ‖ΔW‖ / ‖W‖
  double kept = 0;             // ‖W' − W‖ / ‖ΔW‖ after rounding; 1 is exact
  double error = 0;            // ‖(W' − W) − ΔW‖ / ‖ΔW‖
  int64_t changed_numbers = 0;
};

// Adds every factor to the model's weights. Only MLP down projections can be changed in a loaded model.
void add_to(const Transformer& model, const std::vector<LowRank>& delta);

// File tensors with the delta applied, in the dtype they are written in: the file's own, or fp32 for a GGUF source.
// Error(kNumerics) when a tensor would not change at all after rounding.
struct Applied {
  std::map<std::string, at::Tensor> tensors;
  std::vector<Rounding> rounding;
};
Applied apply(const Checkpoint& checkpoint, const std::vector<LowRank>& delta);

}  // namespace suture::model
