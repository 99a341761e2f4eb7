// SPDX-License-Identifier: Apache-2.0
#include "model/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "model/norm.h"

namespace suture::model {
namespace {

constexpr float kHidden = -std::numeric_limits<float>::infinity();

// Slopes of ALiBi (arXiv 2108.12409): a geometric series for a power of two, and every other one of the doubled series
// for the heads beyond it.
at::Tensor alibi_slopes(int64_t heads) {
  const auto whole = int64_t(std::exp2(std::floor(std::log2(double(heads)))));
  std::vector<float> slopes;
  for (int64_t i = 1; i <= whole; ++i) slopes.push_back(float(std::exp2(-8.0 * double(i) / double(whole))));
  for (int64_t i = 1; int64_t(slopes.size()) < heads; i += 2)
    slopes.push_back(float(std::exp2(-4.0 * double(i) / double(whole))));
  return at::tensor(slopes);
}

struct Slots {
  at::Tensor valid_BS, position_BS;  // of every key slot; a slot's position is its index in its row's text
};

Slots slots(const hook::Tokens& tokens, const KvCache* cache) {
  at::Tensor valid = tokens.position_BT >= 0;
  if (cache != nullptr && cache->length() > 0)
    valid = at::cat({cache->valid_BS().narrow(1, 0, cache->length()), valid}, 1);
  return {valid, valid.to(at::kLong).cumsum(1) - 1};
}

// The published models round slopes, positions and products to bf16, whatever they compute in.
at::Tensor alibi_bias(const ModelConfig& config, const at::Tensor& position_BS) {
  const auto rounded = [](const at::Tensor& t) { return t.to(at::kBFloat16).to(at::kFloat); };
  const at::Tensor slope = rounded(alibi_slopes(config.heads)).view({1, config.heads, 1, 1});
  const at::Tensor position = rounded(position_BS.clamp_min(0).to(at::kFloat)).unsqueeze(1).unsqueeze(1);
  return rounded(slope * position) * config.scale();
}

Mask make_mask(const ModelConfig& config, int64_t window, const hook::Tokens& tokens, const KvCache* cache) {
  const int64_t width = tokens.width(), past = cache == nullptr ? 0 : cache->length();
  const bool ragged = !(tokens.position_BT >= 0).all().item<bool>() || (cache != nullptr && !cache->all_valid());
  const bool outside = window > 0 && past + width > window, alibi = config.traits.position == Position::kAlibi;
  if (!ragged && !outside && !alibi && (width == 1 || past == 0)) return {window, {}, width > 1};
  // Query t sees slot s when s lies before it, holds a token and is near enough; and itself, so that no softmax is over
  // nothing.
  const Slots keys = slots(tokens, cache);
  const at::Tensor slot = at::arange(past + width), query = at::arange(past, past + width).unsqueeze(1);
  at::Tensor visible = (slot <= query).unsqueeze(0) & keys.valid_BS.unsqueeze(1);
  if (outside) visible = visible & (keys.position_BS.unsqueeze(1) > tokens.position_BT.unsqueeze(2) - window);
  visible = visible | (slot == query).unsqueeze(0);
  at::Tensor additive =
      at::zeros(visible.sizes(), at::kFloat).masked_fill_(visible.logical_not(), kHidden).unsqueeze(1);
  if (alibi) additive = additive + alibi_bias(config, keys.position_BS);
  return {window, additive, false};
}

at::Tensor capped(const at::Tensor& x, double cap) { return cap > 0 ? (x / cap).tanh() * cap : x; }

// Softmax over scores [B,H,T,S], which a sink takes part in without giving a value.
at::Tensor weights_of(const at::Tensor& scores, const at::Tensor& sinks_H) {
  if (!sinks_H.defined()) return scores.to(at::kFloat).softmax(-1).to(scores.scalar_type());
  const auto shape = scores.sizes();
  const at::Tensor sink =
      sinks_H.to(scores.scalar_type()).view({1, -1, 1, 1}).expand({shape[0], shape[1], shape[2], 1});
  return at::cat({scores, sink}, -1).to(at::kFloat).softmax(-1).to(scores.scalar_type()).narrow(-1, 0, shape[3]);
}

at::Tensor plain_mask(const Mask& mask, int64_t width, int64_t total) {
  if (mask.additive.defined() || !mask.causal) return mask.additive;
  const at::Tensor slot = at::arange(total), query = at::arange(total - width, total).unsqueeze(1);
  return at::zeros({width, total}, at::kFloat).masked_fill_(slot > query, kHidden);
}

// Every step written out, for caps and sinks.
at::Tensor spelled_out(const ModelConfig& config, const Attention& w, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const Mask& mask) {
  const int64_t group = config.group();
  const at::Tensor keys = group == 1 ? k : k.repeat_interleave(group, 1);
  const at::Tensor values = group == 1 ? v : v.repeat_interleave(group, 1);
  at::Tensor scores = capped(at::matmul(q, keys.transpose(2, 3)) * config.scale(), config.attention_cap);
  if (const at::Tensor additive = plain_mask(mask, q.size(2), k.size(2)); additive.defined())
    scores = scores + additive.to(scores.device(), scores.scalar_type());
  return at::matmul(weights_of(scores, w.sinks_H), values);
}

at::Tensor attention(const ModelConfig& config, const Attention& w, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const Mask& mask) {
  if (config.attention_cap > 0 || w.sinks_H.defined()) return spelled_out(config, w, q, k, v, mask);
  const int64_t rows = q.size(0), width = q.size(2), group = config.group();
  const auto additive = mask.additive.defined() ? std::optional<at::Tensor>(mask.additive) : std::nullopt;
  const double scale = config.scale();
  if (group == 1) return at::scaled_dot_product_attention(q, k, v, additive, 0.0, mask.causal, scale);
  if (width == 1 && (!additive || additive->size(1) == 1)) {
    // One new token: the query heads that share a key head are that head's queries, so keys are never repeated.
    const at::Tensor grouped = q.reshape({rows, config.kv_heads, group, config.head_dim});
    return at::scaled_dot_product_attention(grouped, k, v, additive, 0.0, false, scale)
        .reshape({rows, config.heads, 1, config.head_dim});
  }
  return at::scaled_dot_product_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), additive,
                                          0.0, mask.causal, scale);
}

// What the one new token's heads may see of the shared slots, added to [Hkv, R·G, S]; undefined when all.
at::Tensor shared_mask(const ModelConfig& config, const KvCache& cache, int64_t layer, int64_t variants) {
  const at::Tensor valid_S = cache.valid_BS()[0];
  const at::Tensor position_S = valid_S.to(at::kLong).cumsum(0) - 1;
  const int64_t window = config.layer[size_t(layer)].window, next = valid_S.sum().item<int64_t>();
  at::Tensor visible = valid_S;
  if (window > 0) visible = visible & (position_S > next - window);
  const bool alibi = config.traits.position == Position::kAlibi;
  if (!alibi && visible.all().item<bool>()) return {};
  at::Tensor additive = at::zeros({1, 1, visible.size(0)}, at::kFloat).masked_fill_(visible.logical_not(), kHidden);
  if (!alibi) return additive;
  const at::Tensor bias =
      alibi_bias(config, position_S.unsqueeze(0)) - alibi_bias(config, at::tensor({next}).view({1, 1}));
  const at::Tensor by_head = bias.view({config.kv_heads, 1, config.group(), -1}).expand({-1, variants, -1, -1});
  return additive + by_head.reshape({config.kv_heads, variants * config.group(), -1});
}

// One new token in each of R variants that share all earlier keys: a softmax over the shared keys and the own one,
// without repeating the shared ones R times. q [R,H,1,d], k and v [R,Hkv,1,d].
at::Tensor attention_shared(const ModelConfig& config, const Attention& w, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const KvCache& cache, int64_t layer) {
  const int64_t rows = q.size(0), group = config.group(), d = config.head_dim, heads = config.kv_heads;
  const at::Tensor q_RKGd = q.reshape({rows, heads, group, d}).to(at::kFloat) * config.scale();
  const at::Tensor q_K_RG_d = q_RKGd.transpose(0, 1).reshape({heads, rows * group, d});
  at::Tensor shared = at::matmul(q_K_RG_d, cache.keys(layer)[0].to(at::kFloat).transpose(1, 2));  // [K,R·G,S]
  shared = capped(shared, config.attention_cap);
  if (const at::Tensor mask = shared_mask(config, cache, layer, rows); mask.defined())
    shared = shared + mask.to(shared.device());
  const at::Tensor own = capped(at::matmul(q_RKGd, k.to(at::kFloat).transpose(2, 3)), config.attention_cap)
                             .transpose(0, 1)
                             .reshape({heads, rows * group, 1});
  std::vector<at::Tensor> scores = {shared, own};
  if (w.sinks_H.defined())
    scores.push_back(w.sinks_H.to(at::kFloat)
                         .view({heads, 1, group, 1})
                         .expand({-1, rows, -1, -1})
                         .reshape({heads, rows * group, 1}));
  const at::Tensor weight = at::cat(scores, -1).softmax(-1);
  const int64_t seen = shared.size(-1);
  const at::Tensor from_shared = at::matmul(weight.narrow(-1, 0, seen), cache.values(layer)[0].to(at::kFloat));
  const at::Tensor own_v =
      v.to(at::kFloat).transpose(0, 1).expand({heads, rows, group, d}).reshape({heads, rows * group, d});
  const at::Tensor mixed = from_shared + weight.narrow(-1, seen, 1) * own_v;
  return mixed.view({heads, rows, group, d}).transpose(0, 1).reshape({rows, heads * group, 1, d}).to(q.scalar_type());
}

struct Heads {
  at::Tensor q, k, v;  // [B,H,T,d], [B,Hkv,T,d]
};

// The same norm kind as the blocks', without bias, over one head or over all of them.
at::Tensor head_norm(const ModelConfig& config, const at::Tensor& weight, const at::Tensor& x_BTHd) {
  if (!weight.defined()) return x_BTHd;
  const NormWeights norm{weight, {}};
  if (config.traits.qk_norm == QkNorm::kHead) return normalise(config.traits.norm, norm, x_BTHd, config.eps);
  return normalise(config.traits.norm, norm, x_BTHd.flatten(2), config.eps).view(x_BTHd.sizes());
}

Heads project(const ModelConfig& config, const Attention& w, const at::Tensor& x, const Rotation* rotation) {
  const int64_t rows = x.size(0), width = x.size(1), d = config.head_dim, h = config.heads, kv = config.kv_heads;
  at::Tensor joined = w.qkv(x);
  if (config.clip_qkv > 0) joined = joined.clamp(-config.clip_qkv, config.clip_qkv);
  joined = joined.view({rows, width, h + 2 * kv, d});
  const at::Tensor v = joined.narrow(2, h + kv, kv).transpose(1, 2);
  at::Tensor qk = joined.narrow(2, 0, h + kv);
  if (w.q_norm.defined())
    qk =
        at::cat({head_norm(config, w.q_norm, qk.narrow(2, 0, h)), head_norm(config, w.k_norm, qk.narrow(2, h, kv))}, 2);
  qk = qk.transpose(1, 2);
  if (rotation != nullptr) qk = rotate(qk, *rotation, config.traits.rotates_pairs);
  return {qk.narrow(1, 0, h), qk.narrow(1, h, kv), v};
}

}  // namespace

const Mask& Geometry::mask(int64_t window) const {
  for (const Mask& mask : masks)
    if (mask.window == window) return mask;
  fail(Code::kBug, "no mask for a window of {}", window);
}

Geometry make_geometry(const ModelConfig& config, const std::vector<RotaryTable>& ropes, const hook::Tokens& tokens,
                       const KvCache* cache, at::ScalarType dtype, at::Device device) {
  Geometry geometry;
  const at::Tensor position_BT = tokens.position_BT.clamp_min(0);
  for (const RotaryTable& rope : ropes) geometry.rotations.push_back(rope.rotation(position_BT, dtype));
  if (cache != nullptr && cache->shared()) return geometry;  // the shared path has its own softmax
  std::set<int64_t> windows;
  for (const LayerConfig& layer : config.layer) windows.insert(layer.window);
  for (const int64_t window : windows) {
    Mask mask = make_mask(config, window, tokens, cache);
    if (mask.additive.defined()) mask.additive = mask.additive.to(device, dtype);
    geometry.masks.push_back(std::move(mask));
  }
  return geometry;
}

at::Tensor attend(const ModelConfig& config, const Attention& w, int64_t layer, const at::Tensor& x,
                  const Geometry& geometry, KvCache* cache) {
  const LayerConfig& kind = config.layer[size_t(layer)];
  const bool rotated = kind.rope >= 0 && size_t(kind.rope) < geometry.rotations.size();
  Heads heads = project(config, w, x, rotated ? &geometry.rotations[size_t(kind.rope)] : nullptr);
  at::Tensor out;
  if (cache != nullptr && cache->shared()) {
    out = attention_shared(config, w, heads.q, heads.k, heads.v, *cache, layer);
  } else {
    if (cache != nullptr) std::tie(heads.k, heads.v) = cache->extend(layer, heads.k, heads.v);
    out = attention(config, w, heads.q, heads.k, heads.v, geometry.mask(kind.window));
  }
  return out.transpose(1, 2).reshape({x.size(0), x.size(1), config.heads * config.head_dim});
}

}  // namespace suture::model
