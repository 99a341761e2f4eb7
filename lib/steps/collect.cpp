// SPDX-License-Identifier: Apache-2.0
#include "steps/collect.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <numeric>

#include "core/progress.h"

namespace suture::steps {
namespace {

constexpr int64_t kBatchTokens = 2048;  // padded tokens of one call; bounds its memory

int64_t blocks_needed(const std::vector<hook::Point>& points, int64_t layers) {
  int64_t last = 0;
  for (const hook::Point& point : points)
    last = std::max(last, point.site == hook::Site::kEmbed       ? 0
                          : point.site == hook::Site::kFinalNorm ? layers
                                                                 : point.layer + 1);
  return last;
}

constexpr int64_t kWorthSharing = 8;  // tokens; a shorter common start costs more to set up than it saves

// Runs prompts as far as block `last`; what all of them begin with, a system prompt mostly, is computed once.
class Runner {
 public:
  Runner(const model::Transformer& model, const std::vector<std::vector<int32_t>>& prompts, int64_t keep, int64_t last)
      : model_(model), last_(last) {
    const int64_t common = model::common_start(prompts, keep);
    if (prompts.size() < 2 || common < kWorthSharing || model.config().rotates_by_length()) return;
    shared_ = common;
    start_.emplace(model.new_cache(1, shared_));
    run(model::pad_left({{prompts[0].begin(), prompts[0].begin() + shared_}}), &*start_, nullptr);
  }

  void operator()(const std::vector<std::vector<int32_t>>& rows, hook::Hooks* hooks) const {
    const model::Batch batch = model::pad_left_after(rows, shared_);
    if (shared_ == 0) return run(batch, nullptr, hooks);
    model::KvCache cache = model_.new_cache(int64_t(rows.size()), shared_ + batch.tokens.width());
    cache.fill_from(*start_);
    run(batch, &cache, hooks);
  }

 private:
  void run(const model::Batch& batch, model::KvCache* cache, hook::Hooks* hooks) const {
    const at::Tensor x = model_.blocks(0, last_, model_.embed(batch, hooks), batch.tokens,
                                       model_.geometry(batch.tokens, cache), cache, hooks);
    if (cache != nullptr) cache->advance(batch.tokens.position_BT >= 0);
    if (last_ == model_.config().layers) model_.final_norm(x, batch.tokens, hooks);
  }

  const model::Transformer& model_;
  int64_t last_, shared_ = 0;
  std::optional<model::KvCache> start_;
};

}  // namespace

Recorder::Recorder(std::vector<hook::Point> points, Keep keep) : points_(std::move(points)), keep_(keep) {}

bool Recorder::wants(hook::Point point) const {
  return std::find(points_.begin(), points_.end(), point) != points_.end();
}

at::Tensor Recorder::apply(hook::Point point, at::Tensor x, const hook::Tokens& tokens) {
  if (keep_ == Keep::kEverything) {
    kept_[point] = {x};
    return x;
  }
  const int64_t* position = tokens.position_BT.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < tokens.rows(); ++b)
    for (int64_t t = 0; t < tokens.width(); ++t)
      if (position[b * tokens.width() + t] == tokens.prompt_length[size_t(b)] - 1)
        kept_[point].push_back(x[b][t].to(at::kFloat).clone());
  return x;
}

at::Tensor Recorder::at(hook::Point point) const {
  const auto it = kept_.find(point);
  if (it == kept_.end()) fail(Code::kBug, "nothing was recorded at {} {}", hook::name(point.site), point.layer);
  return keep_ == Keep::kEverything ? it->second[0] : at::stack(it->second);
}

std::map<hook::Point, at::Tensor> last_tokens_activations(const model::Transformer& model,
                                                          const std::vector<std::vector<int32_t>>& prompts,
                                                          int64_t count, const std::vector<hook::Point>& points,
                                                          std::string_view what) {
  const at::NoGradGuard no_grad;
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return prompts[a].size() > prompts[b].size(); });
  std::map<hook::Point, at::Tensor> result;
  for (const hook::Point& point : points)
    result[point] = at::empty({int64_t(prompts.size()), count, model.width_of(point.site)}, at::kFloat);
  const Runner run(model, prompts, count, blocks_needed(points, model.config().layers));
  Progress progress(std::string(what), int64_t(prompts.size()), "prompts");
  for (size_t begin = 0; begin < order.size();) {
    const size_t rows =
        std::clamp<size_t>(size_t(kBatchTokens) / prompts[order[begin]].size(), 1, order.size() - begin);
    std::vector<std::vector<int32_t>> texts;
    for (size_t i = begin; i < begin + rows; ++i) texts.push_back(prompts[order[i]]);
    // Rows are padded on the left, so everybody's last tokens stand in the same columns.
    Recorder recorder(points, Recorder::Keep::kEverything);
    run(texts, &recorder);
    for (const hook::Point& point : points) {
      const at::Tensor kept = recorder.at(point);
      for (size_t i = 0; i < rows; ++i)
        result[point][int64_t(order[begin + i])].copy_(kept[int64_t(i)].narrow(0, kept.size(1) - count, count));
    }
    begin += rows;
    progress.advance(int64_t(rows));
  }
  return result;
}

std::map<hook::Point, at::Tensor> last_token_activations(const model::Transformer& model,
                                                         const std::vector<std::vector<int32_t>>& prompts,
                                                         const std::vector<hook::Point>& points,
                                                         std::string_view what) {
  std::map<hook::Point, at::Tensor> result = last_tokens_activations(model, prompts, 1, points, what);
  for (auto& [point, value] : result) value = value.squeeze(1);
  return result;
}

}  // namespace suture::steps
