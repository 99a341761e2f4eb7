// SPDX-License-Identifier: Apache-2.0
#include "decode/next_token.h"

#include <ATen/ops/log_softmax.h>

namespace suture::decode {
namespace {

constexpr int64_t kWorthSharing = 8;  // tokens; a shorter common start costs more to set up than it saves

}  // namespace

PlainNextToken::PlainNextToken(const model::Transformer& model, const hook::Plan* plan, bool second)
    : model_(&model), plan_(plan != nullptr && plan->empty() ? nullptr : plan), second_(second) {}

PlainNextToken::~PlainNextToken() = default;

int64_t PlainNextToken::shared_prefix(const std::vector<std::vector<int32_t>>& rows) const {
  if (rows.size() < 2) return 0;
  if (plan_ != nullptr)
    for (const hook::Intervention& i : plan_->interventions)
      if (i.where.kind == hook::Where::Kind::kIndex) return 0;  // may point into the common part, a row at a time
  if (model_->config().rotates_by_length()) return 0;
  const int64_t shared = model::common_start(rows, 1);  // the last prompt token is read by gates and hooks
  return shared >= kWorthSharing ? shared : 0;
}

at::Tensor PlainNextToken::prefill(const std::vector<Prompt>& prompts, int64_t max_new) {
  std::vector<std::vector<int32_t>> rows;
  for (const Prompt& prompt : prompts)
    rows.push_back(second_ && !prompt.other_ids.empty() ? prompt.other_ids : prompt.ids);
  length_.clear();
  for (const auto& row : rows) length_.push_back(int64_t(row.size()));
  prompt_length_ = length_;
  run_ = plan_ == nullptr ? nullptr : std::make_unique<hook::PlanRun>(*plan_);
  const int64_t longest = *std::max_element(length_.begin(), length_.end());
  cache_.emplace(model_->new_cache(int64_t(rows.size()), longest + max_new));
  const int64_t shared = shared_prefix(rows);
  if (shared > 0) {
    model::Batch start = model::pad_left({std::vector<int32_t>(rows[0].begin(), rows[0].begin() + shared)});
    start.tokens.prompt_length = {*std::min_element(length_.begin(), length_.end())};
    model::KvCache one = model_->new_cache(1, shared);
    model_->forward(start, &one, run_.get());
    cache_->fill_from(one);
  }
  return model_->last_logits(model::pad_left_after(rows, shared), &*cache_, run_.get());
}

at::Tensor PlainNextToken::step(const std::vector<int32_t>& ids) {
  const model::Batch batch = model::next_tokens(ids, length_, prompt_length_);
  for (int64_t& length : length_) ++length;
  return model_->last_logits(batch, &*cache_, run_.get());
}

void PlainNextToken::keep_rows(const std::vector<int64_t>& rows) {
  cache_->keep_rows(rows);
  if (run_) run_->keep_rows(rows);
  std::vector<int64_t> length, prompt_length;
  for (const int64_t row : rows) {
    length.push_back(length_[size_t(row)]);
    prompt_length.push_back(prompt_length_[size_t(row)]);
  }
  length_ = std::move(length);
  prompt_length_ = std::move(prompt_length);
}

uint64_t PlainNextToken::cache_bytes() const { return cache_ ? cache_->bytes() : 0; }
std::vector<char> PlainNextToken::gates() const { return run_ ? run_->open() : std::vector<char>{}; }
int64_t PlainNextToken::applied() const { return run_ ? run_->applied() : 0; }

GuidedNextToken::GuidedNextToken(std::unique_ptr<NextToken> target, std::unique_ptr<NextToken> other, Combine combine)
    : target_(std::move(target)), other_(std::move(other)), combine_(std::move(combine)) {}

at::Tensor GuidedNextToken::combined(const at::Tensor& p, const at::Tensor& u) const {
  if (p.size(1) != u.size(1))
    fail(Code::kModel, "cannot guide: the model has {} tokens in its vocabulary, the harmful model {}", p.size(1),
         u.size(1));
  return combine_(at::log_softmax(p.to(at::kFloat), -1), at::log_softmax(u.to(at::kFloat), -1));
}

at::Tensor GuidedNextToken::prefill(const std::vector<Prompt>& prompts, int64_t max_new) {
  const at::Tensor p = target_->prefill(prompts, max_new);
  return combined(p, other_->prefill(prompts, max_new));
}

at::Tensor GuidedNextToken::step(const std::vector<int32_t>& ids) {
  const at::Tensor p = target_->step(ids);
  return combined(p, other_->step(ids));
}

void GuidedNextToken::keep_rows(const std::vector<int64_t>& rows) {
  target_->keep_rows(rows);
  other_->keep_rows(rows);
}

}  // namespace suture::decode
