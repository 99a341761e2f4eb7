// SPDX-License-Identifier: Apache-2.0
// Self-attention of one layer: projections, query/key norms, positions, masks, caps and sinks as the traits say.
//
// Scaled dot products go through LibTorch's fused kernel where nothing but a mask is asked for; caps and sinks have
// their own softmax. Keys of grouped heads are never repeated for a single new token.
#pragma once
#include <ATen/core/Tensor.h>

#include "hook/hooks.h"
#include "model/kv_cache.h"
#include "model/linear.h"
#include "model/rope.h"

namespace suture::model {

struct Attention {
  Linear qkv, o;
  at::Tensor q_norm, k_norm;  // may be undefined
  at::Tensor sinks_H;         // may be undefined
};

// Which slots the tokens of one call see, for layers of one window.
struct Mask {
  int64_t window = 0;
  at::Tensor additive;  // [B,1,T,S], or [B,H,T,S] with ALiBi; undefined when every earlier slot is visible
  bool causal = false;  // no mask and T > 1: plain causal attention
};

// What all layers need to know about one call.
struct Geometry {
  std::vector<Rotation> rotations;  // one for each of the config's ropes
  std::vector<Mask> masks;          // one for each window that occurs
  const Mask& mask(int64_t window) const;
};

Geometry make_geometry(const ModelConfig& config, const std::vector<RotaryTable>& ropes, const hook::Tokens& tokens,
                       const KvCache* cache, at::ScalarType dtype, at::Device device);

// The heads' outputs [B,T,H·d] for the block's (normed) input [B,T,D]. Extends the cache when there is one.
at::Tensor attend(const ModelConfig& config, const Attention& weights, int64_t layer, const at::Tensor& x_BTD,
                  const Geometry& geometry, KvCache* cache);

}  // namespace suture::model
