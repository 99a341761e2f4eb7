// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

namespace suture::model {

namespace {

struct NormWeights {
  at::Tensor weight, bias;  // bias undefined for RMS norms
};

struct Layer {
  NormWeights norm_attn, norm_mlp;
  Linear qkv, o, up, down;  // up holds gate above up for gated MLPs
};

// Rotation frequencies, [d/2], as transformers computes them: fp32 powers of theta, then the scaling of `rope.kind`.
at::Tensor inverse_frequencies(const Rope& rope, int64_t head_dim) {
  const at::Tensor exponent = at::arange(0, head_dim, 2, at::kFloat) / double(head_dim);
  const at::Tensor plain = 1.0 / at::pow(rope.theta, exponent);
  if (rope.kind == RopeKind::kDefault) return plain;
  const at::Tensor slowed = plain / rope.factor;
  if (rope.kind == RopeKind::kLinear) return slowed;
  // llama3: long waves are slowed, short ones kept, those between are mixed.
  const double low = rope.original_context / rope.low_freq_factor, high = rope.original_context / rope.high_freq_factor;
  const at::Tensor wave = 2 * std::numbers::pi / plain;
  const at::Tensor mix =
      (rope.original_context / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor mixed = (1 - mix) * slowed + mix * plain;
  return at::where(wave > low, slowed, at::where(wave < high, plain, mixed));
}

at::Tensor rotate(const at::Tensor& x_BHTd, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x_BHTd.size(-1) / 2;
  const at::Tensor turned = at::cat({-x_BHTd.narrow(-1, half, half), x_BHTd.narrow(-1, 0, half)}, -1);
  return x_BHTd * cos + turned * sin;
}

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
  }
  fail(Code::kBug, "unknown activation");
}

}  // namespace

struct Transformer::Impl {
  ModelConfig config;
  LoadOptions options;
  at::Tensor embed_VD, positions_PD, inverse_frequencies;
  std::vector<Layer> layers;
  NormWeights norm_final;
  Linear head;

  at::Tensor norm(const NormWeights& w, const at::Tensor& x) const {
    if (config.family->traits.norm == Norm::kLayer)
      return at::layer_norm(x, {config.width}, w.weight, w.bias, config.eps);
    return at::rms_norm(x, {config.width}, w.weight, config.eps);
  }
  at::Tensor attend(int64_t layer, const at::Tensor& x, const Geometry& geometry, KvCache* cache) const;
  at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Geometry& geometry) const;
  at::Tensor attention_shared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const KvCache& cache,
                              int64_t layer) const;
};

namespace {

at::Tensor hooked(hook::Hooks* hooks, hook::Point point, at::Tensor x, const hook::Tokens& tokens) {
  return hooks != nullptr && hooks->wants(point) ? hooks->apply(point, std::move(x), tokens) : x;
}

}  // namespace

Transformer::Transformer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;
const ModelConfig& Transformer::config() const { return impl_->config; }
at::ScalarType Transformer::dtype() const { return impl_->options.dtype; }
at::Device Transformer::device() const { return impl_->options.device; }
at::Tensor Transformer::down_OI(int64_t layer) const { return impl_->layers.at(size_t(layer)).down.weight(); }
at::Tensor Transformer::output_projection_OI(int64_t layer) const { return impl_->layers.at(size_t(layer)).o.weight(); }
at::Tensor Transformer::unembedding_VD() const { return impl_->head.weight(); }

at::ScalarType fastest_dtype(at::Device device) {
  if (device.is_cuda()) return at::kBFloat16;
  return multiplies_halves_natively() ? at::kBFloat16 : at::kFloat;
}

Transformer Transformer::load(const Checkpoint& checkpoint, LoadOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->config = checkpoint.config();
  impl->options = options;
  const ModelConfig& config = impl->config;
  const auto get = [&](Part part, int64_t layer = 0) {
    if (!checkpoint.has({part, layer})) return at::Tensor();
    const at::Tensor stored = checkpoint.weight({part, layer});
    return stored.to(options.device, options.dtype, false, stored.scalar_type() == options.dtype).contiguous();
  };
  const auto joined = [&](std::vector<Part> parts, int64_t layer) {
    std::vector<at::Tensor> pieces;
    for (const Part part : parts)
      if (at::Tensor piece = get(part, layer); piece.defined()) pieces.push_back(piece);
    return pieces.empty() ? at::Tensor() : pieces.size() == 1 ? pieces[0] : at::cat(pieces, 0);
  };
  impl->embed_VD = get(Part::kEmbed);
  impl->positions_PD = get(Part::kPositions);
  impl->norm_final = {get(Part::kNormFinal), get(Part::kNormFinalBias)};
  impl->head = Linear(config.tied ? impl->embed_VD : get(Part::kHead), {});
  for (int64_t l = 0; l < config.layers; ++l) {
    Layer layer;
    layer.norm_attn = {get(Part::kNormAttn, l), get(Part::kNormAttnBias, l)};
    layer.norm_mlp = {get(Part::kNormMlp, l), get(Part::kNormMlpBias, l)};
    layer.qkv =
        Linear(joined({Part::kQ, Part::kK, Part::kV}, l), joined({Part::kQBias, Part::kKBias, Part::kVBias}, l));
    layer.o = Linear(get(Part::kO, l), get(Part::kOBias, l));
    layer.up = Linear(joined({Part::kGate, Part::kUp}, l), joined({Part::kGateBias, Part::kUpBias}, l));
    layer.down = Linear(get(Part::kDown, l), get(Part::kDownBias, l));
    impl->layers.push_back(std::move(layer));
    checkpoint.forget_pages();
  }
  if (config.family->traits.position == Position::kRope)
    impl->inverse_frequencies = inverse_frequencies(config.rope, config.head_dim).to(options.device);
  return Transformer(std::move(impl));
}

uint64_t Transformer::weight_bytes() const {
  const auto size = [](const at::Tensor& t) { return t.defined() ? uint64_t(t.nbytes()) : 0; };
  uint64_t total =
      size(impl_->embed_VD) + size(impl_->positions_PD) + size(impl_->norm_final.weight) + size(impl_->norm_final.bias);
  if (!impl_->config.tied) total += size(impl_->head.weight());
  for (const Layer& layer : impl_->layers) {
    for (const NormWeights* norm : {&layer.norm_attn, &layer.norm_mlp}) total += size(norm->weight) + size(norm->bias);
    for (const Linear* linear : {&layer.qkv, &layer.o, &layer.up, &layer.down})
      total += size(linear->weight()) + size(linear->bias());
  }
  return total;
}

int64_t Transformer::width_of(hook::Site site) const {
  const ModelConfig& c = impl_->config;
  return site == hook::Site::kHeadOut ? c.heads * c.head_dim : site == hook::Site::kMlpKey ? c.hidden : c.width;
}

KvCache Transformer::new_cache(int64_t rows, int64_t capacity) const {
  return KvCache(impl_->config, rows, capacity, impl_->options.dtype, impl_->options.device);
}

Transformer::Geometry Transformer::geometry(const hook::Tokens& tokens, const KvCache* cache) const {
  const Impl& m = *impl_;
  const int64_t width = tokens.width(), past = cache == nullptr ? 0 : cache->length();
  Geometry geometry;
  if (m.inverse_frequencies.defined()) {
    const at::Tensor position = tokens.position_BT.clamp_min(0).to(m.options.device, at::kFloat);
    const at::Tensor angle = position.unsqueeze(-1) * m.inverse_frequencies;
    const at::Tensor both = at::cat({angle, angle}, -1).unsqueeze(1);
    geometry.cos_BT1d = both.cos().to(m.options.dtype);
    geometry.sin_BT1d = both.sin().to(m.options.dtype);
  }
  const at::Tensor valid_BT = tokens.position_BT >= 0;
  if (cache != nullptr && cache->shared()) return geometry;  // the shared path has its own softmax
  const bool ragged = !valid_BT.all().item<bool>() || (cache != nullptr && !cache->all_valid());
  if (!ragged && (width == 1 || past == 0)) {
    geometry.causal = width > 1;
    return geometry;
  }
  // Query t sees slot s when s lies before it and holds a token; and itself, so that no softmax is over nothing.
  at::Tensor valid_BS = valid_BT;
  if (past > 0) valid_BS = at::cat({cache->valid_BS().narrow(1, 0, past), valid_BT}, 1);
  const at::Tensor slot = at::arange(past + width);
  const at::Tensor query = at::arange(past, past + width).unsqueeze(1);
  const at::Tensor visible = ((slot <= query).unsqueeze(0) & valid_BS.unsqueeze(1)) | (slot == query).unsqueeze(0);
  const at::Tensor mask = at::zeros(visible.sizes(), at::kFloat)
                              .masked_fill_(visible.logical_not(), -std::numeric_limits<float>::infinity());
  geometry.mask_B1TS = mask.unsqueeze(1).to(m.options.device, m.options.dtype);
  return geometry;
}

at::Tensor Transformer::Impl::attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                        const Geometry& geometry) const {
  const int64_t rows = q.size(0), width = q.size(2), group = config.group();
  const auto mask = geometry.mask_B1TS.defined() ? std::optional<at::Tensor>(geometry.mask_B1TS) : std::nullopt;
  if (group == 1) return at::scaled_dot_product_attention(q, k, v, mask, 0.0, geometry.causal);
  if (width == 1) {
    // One new token: the query heads that share a key head are that head's queries, so keys are never repeated.
    const at::Tensor grouped = q.reshape({rows, config.kv_heads, group, config.head_dim});
    return at::scaled_dot_product_attention(grouped, k, v, mask).reshape({rows, config.heads, 1, config.head_dim});
  }
  return at::scaled_dot_product_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), mask, 0.0,
                                          geometry.causal);
}

// One new token in each of R variants that share all earlier keys: a softmax over the shared keys and the own one,
// without repeating the shared ones R times. q [R,H,1,d], k and v [R,Hkv,1,d].
at::Tensor Transformer::Impl::attention_shared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                               const KvCache& cache, int64_t layer) const {
  const int64_t rows = q.size(0), group = config.group(), d = config.head_dim, heads = config.kv_heads;
  const at::Tensor q_RKGd = q.reshape({rows, heads, group, d}).to(at::kFloat) / std::sqrt(double(d));
  const at::Tensor q_K_RG_d = q_RKGd.transpose(0, 1).reshape({heads, rows * group, d});
  at::Tensor shared = at::matmul(q_K_RG_d, cache.keys(layer)[0].to(at::kFloat).transpose(1, 2));  // [K,R·G,S]
  if (!cache.all_valid())
    shared = shared.masked_fill(cache.valid_BS()[0].logical_not().to(shared.device()),
                                -std::numeric_limits<float>::infinity());
  const at::Tensor own =
      at::matmul(q_RKGd, k.to(at::kFloat).transpose(2, 3)).transpose(0, 1).reshape({heads, rows * group, 1});
  const at::Tensor weight = at::cat({shared, own}, -1).softmax(-1);
  const int64_t seen = shared.size(-1);
  const at::Tensor from_shared = at::matmul(weight.narrow(-1, 0, seen), cache.values(layer)[0].to(at::kFloat));
  const at::Tensor own_v =
      v.to(at::kFloat).transpose(0, 1).expand({heads, rows, group, d}).reshape({heads, rows * group, d});
  const at::Tensor mixed = from_shared + weight.narrow(-1, seen, 1) * own_v;
  return mixed.view({heads, rows, group, d}).transpose(0, 1).reshape({rows, heads * group, 1, d}).to(q.scalar_type());
}

at::Tensor Transformer::Impl::attend(int64_t layer, const at::Tensor& x, const Geometry& geometry,
                                     KvCache* cache) const {
  const int64_t rows = x.size(0), width = x.size(1), d = config.head_dim;
  const at::Tensor joined =
      layers[size_t(layer)].qkv(x).view({rows, width, config.heads + 2 * config.kv_heads, d}).transpose(1, 2);
  at::Tensor q = joined.narrow(1, 0, config.heads), k = joined.narrow(1, config.heads, config.kv_heads);
  at::Tensor v = joined.narrow(1, config.heads + config.kv_heads, config.kv_heads);
  if (geometry.cos_BT1d.defined()) {
    const at::Tensor turned =
        rotate(joined.narrow(1, 0, config.heads + config.kv_heads), geometry.cos_BT1d, geometry.sin_BT1d);
    q = turned.narrow(1, 0, config.heads);
    k = turned.narrow(1, config.heads, config.kv_heads);
  }
  if (cache != nullptr && cache->shared())
    return attention_shared(q, k, v, *cache, layer).transpose(1, 2).reshape({rows, width, config.heads * d});
  if (cache != nullptr) std::tie(k, v) = cache->extend(layer, k, v);
  return attention(q, k, v, geometry).transpose(1, 2).reshape({rows, width, config.heads * d});
}

at::Tensor Transformer::embed(const Batch& batch, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  at::Tensor x = at::embedding(m.embed_VD, batch.ids_BT.to(m.options.device));
  if (m.positions_PD.defined()) {
    const at::Tensor position = batch.tokens.position_BT.clamp_min(0);
    if (position.max().item<int64_t>() >= m.positions_PD.size(0))
      fail(Code::kModel, "cannot read a text of {} tokens: the model has {} positions",
           position.max().item<int64_t>() + 1, m.positions_PD.size(0));
    x = x + at::embedding(m.positions_PD, position.to(m.options.device));
  }
  return hooked(hooks, {hook::Site::kEmbed, 0}, x, batch.tokens);
}

at::Tensor Transformer::finish_block(int64_t layer, const at::Tensor& x_BTD, const at::Tensor& heads_BTE,
                                     const hook::Tokens& tokens, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  const Layer& w = m.layers[size_t(layer)];
  const at::Tensor attn = hooked(hooks, {hook::Site::kAttnOut, layer}, w.o(heads_BTE), tokens);
  const at::Tensor middle = x_BTD + attn;
  at::Tensor key = w.up(m.norm(w.norm_mlp, middle));
  if (m.config.family->traits.gated)
    key = activate(m.config.activation, key.narrow(-1, 0, m.config.hidden)) *
          key.narrow(-1, m.config.hidden, m.config.hidden);
  else
    key = activate(m.config.activation, key);
  key = hooked(hooks, {hook::Site::kMlpKey, layer}, key, tokens);
  const at::Tensor mlp = hooked(hooks, {hook::Site::kMlpOut, layer}, w.down(key), tokens);
  return hooked(hooks, {hook::Site::kResidOut, layer}, middle + mlp, tokens);
}

at::Tensor Transformer::blocks(int64_t first, int64_t last, at::Tensor x, const hook::Tokens& tokens,
                               const Geometry& geometry, KvCache* cache, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  for (int64_t layer = first; layer < last; ++layer) {
    const at::Tensor heads = m.attend(layer, m.norm(m.layers[size_t(layer)].norm_attn, x), geometry, cache);
    x = finish_block(layer, x, hooked(hooks, {hook::Site::kHeadOut, layer}, heads, tokens), tokens, hooks);
  }
  return x;
}

at::Tensor Transformer::final_norm(const at::Tensor& x, const hook::Tokens& tokens, hook::Hooks* hooks) const {
  return hooked(hooks, {hook::Site::kFinalNorm, 0}, impl_->norm(impl_->norm_final, x), tokens);
}

at::Tensor Transformer::head(const at::Tensor& normed) const { return impl_->head(normed); }

at::Tensor Transformer::forward(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const {
  const Geometry geometry = this->geometry(batch.tokens, cache);
  at::Tensor x = embed(batch, hooks);
  x = blocks(0, impl_->config.layers, std::move(x), batch.tokens, geometry, cache, hooks);
  if (cache != nullptr) cache->advance(batch.tokens.position_BT >= 0);
  return x;
}

at::Tensor Transformer::logits(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const {
  return head(final_norm(forward(batch, cache, hooks), batch.tokens, hooks));
}

at::Tensor Transformer::last_logits(const Batch& batch, KvCache* cache, hook::Hooks* hooks) const {
  const at::Tensor x = forward(batch, cache, hooks);
  const int64_t last = x.size(1) - 1;
  hook::Tokens tokens{batch.tokens.position_BT.narrow(1, last, 1).contiguous(), batch.tokens.prompt_length};
  return head(final_norm(x.narrow(1, last, 1), tokens, hooks)).squeeze(1);
}

Batch pad_left(const std::vector<std::vector<int32_t>>& rows) {
  size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.size());
  Batch batch{at::zeros({int64_t(rows.size()), int64_t(width)}, at::kLong), {}};
  batch.tokens.position_BT = at::full({int64_t(rows.size()), int64_t(width)}, -1, at::kLong);
  int64_t* ids = batch.ids_BT.mutable_data_ptr<int64_t>();
  int64_t* position = batch.tokens.position_BT.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b < rows.size(); ++b) {
    if (rows[b].empty()) fail(Code::kData, "cannot run the model on an empty text (row {})", b);
    const size_t start = b * width + width - rows[b].size();
    for (size_t t = 0; t < rows[b].size(); ++t) {
      ids[start + t] = rows[b][t];
      position[start + t] = int64_t(t);
    }
    batch.tokens.prompt_length.push_back(int64_t(rows[b].size()));
  }
  return batch;
}

Batch next_tokens(const std::vector<int32_t>& ids, const std::vector<int64_t>& positions,
                  const std::vector<int64_t>& prompt_lengths) {
  Batch batch;
  batch.ids_BT = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong).unsqueeze(1);
  batch.tokens = {at::tensor(positions, at::kLong).unsqueeze(1), prompt_lengths};
  return batch;
}

}  // namespace suture::model
