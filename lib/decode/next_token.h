// SPDX-License-Identifier: Apache-2.0
// Next-token log-probabilities of a batch of growing rows: from one model, or from two that are combined.
//
// A batch is started with prefill(), grows by one token a row with step(), and loses finished rows with keep_rows().
#pragma once
#include <functional>

#include "hook/plan.h"
#include "model/transformer.h"

namespace suture::decode {

struct Prompt {
  std::vector<int32_t> ids;
  std::vector<int32_t> other_ids;  // for the second model of a guided pair; empty: the same
};

class NextToken {
 public:
  virtual ~NextToken() = default;
  // Room is made for `max_new` further tokens. Returns logits or log-probabilities [B,V] (softmax gives the
  // distribution).
  virtual at::Tensor prefill(const std::vector<Prompt>& prompts, int64_t max_new) = 0;
  virtual at::Tensor step(const std::vector<int32_t>& ids) = 0;
  virtual void keep_rows(const std::vector<int64_t>& rows) = 0;
  virtual uint64_t cache_bytes() const = 0;
  // Per present row, whether a gate let the plan act; empty without a gate.
  virtual std::vector<char> gates() const { return {}; }
};

// One model under an optional plan. What the rows of a batch have in common at their start is computed once.
class PlainNextToken : public NextToken {
 public:
  // `plan` may be null; both outlive this object. `second` reads Prompt::other_ids.
  PlainNextToken(const model::Transformer& model, const hook::Plan* plan, bool second = false);
  ~PlainNextToken() override;
  at::Tensor prefill(const std::vector<Prompt>& prompts, int64_t max_new) override;
  at::Tensor step(const std::vector<int32_t>& ids) override;
  void keep_rows(const std::vector<int64_t>& rows) override;
  uint64_t cache_bytes() const override;
  std::vector<char> gates() const override;
  int64_t applied() const;  // (token, intervention) pairs of the present batch

 private:
  int64_t shared_prefix(const std::vector<std::vector<int32_t>>& rows) const;
  const model::Transformer* model_;
  const hook::Plan* plan_;
  bool second_;
  std::unique_ptr<hook::PlanRun> run_;
  std::optional<model::KvCache> cache_;
  std::vector<int64_t> length_, prompt_length_;
};

// log s from the log-probabilities of two models, both [B,V] fp32. Pure.
using Combine = std::function<at::Tensor(const at::Tensor& log_p, const at::Tensor& log_u)>;

class GuidedNextToken : public NextToken {
 public:
  GuidedNextToken(std::unique_ptr<NextToken> target, std::unique_ptr<NextToken> other, Combine combine);
  at::Tensor prefill(const std::vector<Prompt>& prompts, int64_t max_new) override;
  at::Tensor step(const std::vector<int32_t>& ids) override;
  void keep_rows(const std::vector<int64_t>& rows) override;
  uint64_t cache_bytes() const override { return target_->cache_bytes() + other_->cache_bytes(); }
  std::vector<char> gates() const override { return target_->gates(); }

 private:
  at::Tensor combined(const at::Tensor& p, const at::Tensor& u) const;
  std::unique_ptr<NextToken> target_, other_;
  Combine combine_;
};

}  // namespace suture::decode
