// SPDX-License-Identifier: Apache-2.0
// Rotary positions: frequencies of every scaling kind, as transformers 5.24 computes them, and the rotation itself.
// Sources: RoFormer (arXiv 2104.09864), NTK-aware dynamic scaling, YaRN (arXiv 2309.00071), LongRoPE (arXiv
// 2402.13753).
#pragma once
#include <ATen/core/Tensor.h>

#include "model/config.h"

namespace suture::model {

// Cosines and sines of a call's tokens, times the kind's attention factor; [B,1,T,dim] in halves layout, or the same
// numbers repeated pair by pair.
struct Rotation {
  at::Tensor cos_BT1d, sin_BT1d;
};

class RotaryTable {
 public:
  RotaryTable() = default;
  RotaryTable(const Rope& rope, bool pairs, at::Device device);
  // `position_BT` int64, padding clamped to 0. Kinds that depend on the text's length take it from the largest position
  // of this call, so their cached keys keep the frequencies of their own call.
  Rotation rotation(const at::Tensor& position_BT, at::ScalarType dtype) const;

 private:
  at::Tensor frequencies_for(int64_t length) const;
  Rope rope_;
  bool pairs_ = false;
  at::Tensor base_, long_;
};

// Rotates the first `rotation` numbers of each head; x [B,H,T,d].
at::Tensor rotate(const at::Tensor& x_BHTd, const Rotation& rotation, bool pairs);

}  // namespace suture::model
