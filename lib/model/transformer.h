// SPDX-License-Identifier: Apache-2.0
// The one decoder-only transformer, driven by the family table's traits.
//
// Weights are loaded once, in the compute dtype; q/k/v and gate/up are stored as one matrix each, experts as one tensor
// a layer. Attention and norms accumulate in fp32. The forward pass can start and stop at any layer, so callers that
// change one token or one layer do not pay for the rest. Not thread-safe; LibTorch's own threads are used inside.
#pragma once
#include <functional>

#include "hook/hooks.h"
#include "model/attention.h"
#include "model/checkpoint.h"
#include "model/kv_cache.h"

namespace suture::model {

struct LoadOptions {
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

// fp32 unless the processor multiplies bf16 natively; "auto" of --dtype.
at::ScalarType fastest_dtype(at::Device device);

// A batch of token rows, padded on the left to the longest.
struct Batch {
  at::Tensor ids_BT;  // int64, CPU; padding holds 0
  hook::Tokens tokens;
};
Batch pad_left(const std::vector<std::vector<int32_t>>& rows);
// The same without the first `skipped` tokens of every row, which a cache already holds. Prompt lengths count them.
Batch pad_left_after(const std::vector<std::vector<int32_t>>& rows, int64_t skipped);
// How many tokens every row begins with, at least `keep` of each row not counted.
int64_t common_start(const std::vector<std::vector<int32_t>>& rows, int64_t keep);
// One further token a row, at the given positions.
Batch next_tokens(const std::vector<int32_t>& ids, const std::vector<int64_t>& positions,
                  const std::vector<int64_t>& prompt_lengths);

// The language-model head: [..., D] → logits [..., V], scaled and capped as the family does. Copies share the weight.
struct Head {
  Linear linear;
  double scale = 1, cap = 0;
  at::Tensor operator()(const at::Tensor& normed) const;
};

class Transformer {
 public:
  static Transformer load(const Checkpoint& checkpoint, LoadOptions options);
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const ModelConfig& config() const;
  at::ScalarType dtype() const;
  at::Device device() const;
  uint64_t weight_bytes() const;
  int64_t width_of(hook::Site site) const;  // of one token's activation
  KvCache new_cache(int64_t rows, int64_t capacity) const;

  // What the blocks need to know about one call. Cheap; depends on the cache's state.
  using Geometry = model::Geometry;
  Geometry geometry(const hook::Tokens& tokens, const KvCache* cache) const;

  at::Tensor embed(const Batch& batch, hook::Hooks* hooks) const;  // [B,T,D]
  // Blocks first..last-1 on the residual stream [B,T,D]. `cache` is extended (not advanced) when given.
  at::Tensor blocks(int64_t first, int64_t last, at::Tensor x_BTD, const hook::Tokens& tokens, const Geometry& geometry,
                    KvCache* cache, hook::Hooks* hooks) const;
  // The second part of block `layer`, from the heads' outputs on: x is the block's input, heads_BTE what the output
  // projection reads (E = heads·head_dim). Sites attn_out and mlp_out are before post-norms and residual multipliers.
  at::Tensor finish_block(int64_t layer, const at::Tensor& x_BTD, const at::Tensor& heads_BTE,
                          const hook::Tokens& tokens, hook::Hooks* hooks) const;
  at::Tensor final_norm(const at::Tensor& x, const hook::Tokens& tokens, hook::Hooks* hooks) const;
  const Head& head() const;
  at::Tensor head(const at::Tensor& normed) const { return head()(normed); }

  // embed + all blocks; advances the cache. Returns the last block's output [B,T,D].
  at::Tensor forward(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const;
  // Logits of every token [B,T,V], or of the last column only [B,V]; compute dtype.
  at::Tensor logits(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const;
  at::Tensor last_logits(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const;

  // The MLP's down projection and the attention's output projection, [out, in], shared with the model: writes through.
  // Error(kModel) for the down projection of a layer with experts.
  at::Tensor down_OI(int64_t layer) const;
  at::Tensor output_projection_OI(int64_t layer) const;

 private:
  struct Impl;
  explicit Transformer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace suture::model
