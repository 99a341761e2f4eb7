// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "model/mlp.h"
#include "model/norm.h"

namespace suture::model {

namespace {

struct Layer {
  NormWeights norm_attn, norm_attn_post, norm_mlp, norm_mlp_post;
  Attention attention;
  Mlp mlp;
  Experts experts;
};

at::Tensor hooked(hook::Hooks* hooks, hook::Point point, at::Tensor x, const hook::Tokens& tokens) {
  return hooks != nullptr && hooks->wants(point) ? hooks->apply(point, std::move(x), tokens) : x;
}

// Weights of a checkpoint in the compute dtype, each read once.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const LoadOptions& options)
      : checkpoint_(checkpoint), options_(options), norm_(checkpoint.config().traits.norm) {}

  at::Tensor get(WeightId id) const {
    if (!checkpoint_.has(id)) return {};
    const at::Tensor stored = checkpoint_.weight(id);
    return stored.to(options_.device, options_.dtype, false, stored.scalar_type() == options_.dtype).contiguous();
  }
  at::Tensor get(Part part, int64_t layer = 0) const { return get(WeightId{part, layer}); }
  NormWeights norm(Part weight, std::optional<Part> bias = std::nullopt, int64_t layer = 0) const {
    return make_norm(norm_, get(weight, layer), bias ? get(*bias, layer) : at::Tensor());
  }
  at::Tensor joined(const std::vector<WeightId>& ids) const {
    std::vector<at::Tensor> pieces;
    for (const WeightId& id : ids)
      if (at::Tensor piece = get(id); piece.defined()) pieces.push_back(std::move(piece));
    return pieces.empty() ? at::Tensor() : pieces.size() == 1 ? pieces[0] : at::cat(pieces, 0);
  }
  Linear linear(const std::vector<Part>& weights, const std::vector<Part>& biases, int64_t layer) const {
    return Linear(joined(ids(weights, layer)), joined(ids(biases, layer)));
  }

  Attention attention(int64_t layer) const {
    Attention a;
    a.qkv = linear({Part::kQ, Part::kK, Part::kV}, {Part::kQBias, Part::kKBias, Part::kVBias}, layer);
    a.o = linear({Part::kO}, {Part::kOBias}, layer);
    a.q_norm = make_norm(norm_, get(Part::kQNorm, layer), {}).weight;
    a.k_norm = make_norm(norm_, get(Part::kKNorm, layer), {}).weight;
    a.sinks_H = get(Part::kSinks, layer);
    return a;
  }

  Experts experts(int64_t layer) const {
    const int64_t count = checkpoint_.config().experts;
    const auto stack = [&](const std::vector<Part>& parts) {
      at::Tensor all;
      for (int64_t e = 0; e < count; ++e) {
        std::vector<WeightId> ids;
        for (const Part part : parts) ids.push_back({part, layer, e});
        const at::Tensor one = joined(ids);
        if (!one.defined()) return all;
        if (!all.defined()) {
          std::vector<int64_t> shape = one.sizes().vec();
          shape.insert(shape.begin(), count);
          all = at::empty(shape, one.options());
        }
        all[e].copy_(one);
      }
      return all;
    };
    return {linear({Part::kRouter}, {Part::kRouterBias}, layer),
            stack({Part::kExpertGate, Part::kExpertUp}),
            stack({Part::kExpertGateBias, Part::kExpertUpBias}),
            stack({Part::kExpertDown}),
            stack({Part::kExpertDownBias}),
            linear({Part::kSharedGate, Part::kSharedUp}, {}, layer),
            linear({Part::kSharedDown}, {}, layer),
            linear({Part::kSharedRouter}, {}, layer)};
  }

  Layer layer(int64_t l) const {
    Layer layer;
    layer.norm_attn = norm(Part::kNormAttn, Part::kNormAttnBias, l);
    layer.norm_attn_post = norm(Part::kNormAttnPost, std::nullopt, l);
    layer.norm_mlp = norm(Part::kNormMlp, Part::kNormMlpBias, l);
    layer.norm_mlp_post = norm(Part::kNormMlpPost, std::nullopt, l);
    layer.attention = attention(l);
    if (checkpoint_.config().layer[size_t(l)].sparse)
      layer.experts = experts(l);
    else
      layer.mlp = {linear({Part::kGate, Part::kUp}, {Part::kGateBias, Part::kUpBias}, l),
                   linear({Part::kDown}, {Part::kDownBias}, l)};
    checkpoint_.forget_pages();
    return layer;
  }

 private:
  static std::vector<WeightId> ids(const std::vector<Part>& parts, int64_t layer) {
    std::vector<WeightId> all;
    for (const Part part : parts) all.push_back({part, layer});
    return all;
  }

  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  Norm norm_;
};

uint64_t size(const at::Tensor& t) { return t.defined() ? uint64_t(t.nbytes()) : 0; }
uint64_t size(const NormWeights& norm) { return size(norm.weight) + size(norm.bias); }
uint64_t size(const Linear& linear) { return size(linear.weight()) + size(linear.bias()); }
uint64_t size(const Layer& l) {
  const Experts& e = l.experts;
  return size(l.norm_attn) + size(l.norm_attn_post) + size(l.norm_mlp) + size(l.norm_mlp_post) + size(l.attention.qkv) +
         size(l.attention.o) + size(l.attention.q_norm) + size(l.attention.k_norm) + size(l.attention.sinks_H) +
         size(l.mlp.up) + size(l.mlp.down) + size(e.router) + size(e.up_E2FD) + size(e.up_bias_E2F) + size(e.down_EDF) +
         size(e.down_bias_ED) + size(e.shared_up) + size(e.shared_down) + size(e.shared_router);
}

}  // namespace

struct Transformer::Impl {
  ModelConfig config;
  LoadOptions options;
  at::Tensor embed_VD, positions_PD;
  std::vector<RotaryTable> ropes;
  std::vector<Layer> layers;
  NormWeights norm_final;
  Head head;

  // Families without norm weights have the norm all the same.
  at::Tensor norm(const NormWeights& w, const at::Tensor& x) const {
    return normalise(config.traits.norm, w, x, config.eps);
  }
  at::Tensor before(const NormWeights& w, const at::Tensor& x) const {
    return config.traits.placement == Placement::kAfter ? x : norm(w, x);
  }
  at::Tensor after(const NormWeights& w, const at::Tensor& x) const {
    return config.traits.placement == Placement::kBefore ? x : norm(w, x);
  }
  at::Tensor scaled(const at::Tensor& branch) const {
    return config.residual_scale == 1 ? branch : branch * config.residual_scale;
  }
  // What the MLP reads: its own norm, or in parallel blocks with one norm the attention's.
  at::Tensor mlp_input(const Layer& w, const at::Tensor& x) const {
    const bool own = w.norm_mlp || !config.traits.parallel;
    return before(own ? w.norm_mlp : w.norm_attn, x);
  }
  at::Tensor feed_forward(int64_t layer, const at::Tensor& x, const hook::Tokens& tokens, hook::Hooks* hooks) const;
};

at::Tensor Transformer::Impl::feed_forward(int64_t layer, const at::Tensor& x, const hook::Tokens& tokens,
                                           hook::Hooks* hooks) const {
  const Layer& w = layers[size_t(layer)];
  const hook::Point key_point{hook::Site::kMlpKey, layer};
  at::Tensor out;
  if (config.layer[size_t(layer)].sparse) {
    if (hooks != nullptr && hooks->wants(key_point))
      fail(Code::kModel, "cannot reach mlp_key of layer {}: it is a mixture of {} experts", layer, config.experts);
    out = mix_experts(config, w.experts, x);
  } else {
    out = w.mlp.down(hooked(hooks, key_point, mlp_key(config, w.mlp.up(x)), tokens));
  }
  return hooked(hooks, {hook::Site::kMlpOut, layer}, out, tokens);
}

Transformer::Transformer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;
const ModelConfig& Transformer::config() const { return impl_->config; }
at::ScalarType Transformer::dtype() const { return impl_->options.dtype; }
at::Device Transformer::device() const { return impl_->options.device; }
at::Tensor Transformer::output_projection_OI(int64_t layer) const {
  return impl_->layers.at(size_t(layer)).attention.o.weight();
}

at::Tensor Transformer::down_OI(int64_t layer) const {
  const Linear& down = impl_->layers.at(size_t(layer)).mlp.down;
  if (!down)
    fail(Code::kModel, "cannot edit layer {}: it is a mixture of {} experts, which have no common down projection",
         layer, impl_->config.experts);
  return down.weight();
}

at::ScalarType fastest_dtype(at::Device device) {
  if (device.is_cuda()) return at::kBFloat16;
  return multiplies_halves_natively() ? at::kBFloat16 : at::kFloat;
}

Transformer Transformer::load(const Checkpoint& checkpoint, LoadOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->config = checkpoint.config();
  impl->options = options;
  const ModelConfig& config = impl->config;
  const Loader loader(checkpoint, options);
  impl->embed_VD = loader.get(Part::kEmbed);
  impl->positions_PD = loader.get(Part::kPositions);
  impl->norm_final = loader.norm(Part::kNormFinal, Part::kNormFinalBias);
  impl->head = {Linear(config.tied ? impl->embed_VD : loader.get(Part::kHead), loader.get(Part::kHeadBias)),
                config.logit_scale, config.logit_cap};
  for (int64_t l = 0; l < config.layers; ++l) impl->layers.push_back(loader.layer(l));
  for (const Rope& rope : config.ropes) impl->ropes.emplace_back(rope, config.traits.rotates_pairs, options.device);
  return Transformer(std::move(impl));
}

uint64_t Transformer::weight_bytes() const {
  uint64_t total =
      size(impl_->embed_VD) + size(impl_->positions_PD) + size(impl_->norm_final) + size(impl_->head.linear.bias());
  if (!impl_->config.tied) total += size(impl_->head.linear.weight());
  for (const Layer& layer : impl_->layers) total += size(layer);
  return total;
}

int64_t Transformer::width_of(hook::Site site) const {
  const ModelConfig& c = impl_->config;
  return site == hook::Site::kHeadOut ? c.heads * c.head_dim : site == hook::Site::kMlpKey ? c.hidden : c.width;
}

KvCache Transformer::new_cache(int64_t rows, int64_t capacity) const {
  return KvCache(impl_->config, rows, capacity, impl_->options.dtype, impl_->options.device);
}

Geometry Transformer::geometry(const hook::Tokens& tokens, const KvCache* cache) const {
  return make_geometry(impl_->config, impl_->ropes, tokens, cache, impl_->options.dtype, impl_->options.device);
}

at::Tensor Transformer::embed(const Batch& batch, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  at::Tensor x = at::embedding(m.embed_VD, batch.ids_BT.to(m.options.device));
  // The multiplier is rounded to the compute dtype first, as the published models were trained.
  if (m.config.embed_scale != 1) x = x * at::scalar_tensor(m.config.embed_scale, x.options());
  if (m.positions_PD.defined()) {
    const at::Tensor position = batch.tokens.position_BT.clamp_min(0) + m.config.traits.position_offset;
    if (const int64_t last = position.max().item<int64_t>(); last >= m.positions_PD.size(0))
      fail(Code::kModel, "cannot read a text of {} tokens: the model has {} positions",
           last + 1 - m.config.traits.position_offset, m.positions_PD.size(0) - m.config.traits.position_offset);
    x = x + at::embedding(m.positions_PD, position.to(m.options.device));
  }
  return hooked(hooks, {hook::Site::kEmbed, 0}, x, batch.tokens);
}

at::Tensor Transformer::finish_block(int64_t layer, const at::Tensor& x_BTD, const at::Tensor& heads_BTE,
                                     const hook::Tokens& tokens, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  const Layer& w = m.layers[size_t(layer)];
  const hook::Point end{hook::Site::kResidOut, layer};
  at::Tensor attn = hooked(hooks, {hook::Site::kAttnOut, layer}, w.attention.o(heads_BTE), tokens);
  if (m.config.traits.parallel)
    return hooked(hooks, end, x_BTD + attn + m.feed_forward(layer, m.mlp_input(w, x_BTD), tokens, hooks), tokens);
  const at::Tensor middle = x_BTD + m.scaled(m.after(w.norm_attn_post, attn));
  const at::Tensor mlp = m.feed_forward(layer, m.mlp_input(w, middle), tokens, hooks);
  return hooked(hooks, end, middle + m.scaled(m.after(w.norm_mlp_post, mlp)), tokens);
}

at::Tensor Transformer::blocks(int64_t first, int64_t last, at::Tensor x, const hook::Tokens& tokens,
                               const Geometry& geometry, KvCache* cache, hook::Hooks* hooks) const {
  const Impl& m = *impl_;
  for (int64_t layer = first; layer < last; ++layer) {
    const Layer& w = m.layers[size_t(layer)];
    const at::Tensor heads = attend(m.config, w.attention, layer, m.before(w.norm_attn, x), geometry, cache);
    x = finish_block(layer, x, hooked(hooks, {hook::Site::kHeadOut, layer}, heads, tokens), tokens, hooks);
  }
  return x;
}

at::Tensor Transformer::final_norm(const at::Tensor& x, const hook::Tokens& tokens, hook::Hooks* hooks) const {
  return hooked(hooks, {hook::Site::kFinalNorm, 0}, impl_->norm(impl_->norm_final, x), tokens);
}

const Head& Transformer::head() const { return impl_->head; }

at::Tensor Head::operator()(const at::Tensor& normed) const {
  at::Tensor logits = linear(normed);
  if (scale != 1) logits = logits * scale;
  return cap > 0 ? (logits / cap).tanh() * cap : logits;
}

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

Batch pad_left_after(const std::vector<std::vector<int32_t>>& rows, int64_t skipped) {
  std::vector<std::vector<int32_t>> rest;
  for (const auto& row : rows) rest.emplace_back(row.begin() + skipped, row.end());
  Batch batch = pad_left(rest);
  batch.tokens.position_BT.add_((batch.tokens.position_BT >= 0).to(at::kLong) * skipped);
  for (int64_t& length : batch.tokens.prompt_length) length += skipped;
  return batch;
}

int64_t common_start(const std::vector<std::vector<int32_t>>& rows, int64_t keep) {
  int64_t common = rows.empty() ? 0 : int64_t(rows[0].size());
  for (const auto& row : rows) {
    common = std::min(common, int64_t(row.size()));
    common = std::mismatch(row.begin(), row.begin() + common, rows[0].begin()).first - row.begin();
  }
  for (const auto& row : rows) common = std::min(common, int64_t(row.size()) - keep);
  return std::max<int64_t>(common, 0);
}

Batch next_tokens(const std::vector<int32_t>& ids, const std::vector<int64_t>& positions,
                  const std::vector<int64_t>& prompt_lengths) {
  Batch batch;
  batch.ids_BT = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong).unsqueeze(1);
  batch.tokens = {at::tensor(positions, at::kLong).unsqueeze(1), prompt_lengths};
  return batch;
}

}  // namespace suture::model
