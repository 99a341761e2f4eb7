// SPDX-License-Identifier: Apache-2.0
#include "decode/generate.h"

#include <ATen/core/grad_mode.h>

#include <numeric>

#include "core/progress.h"

namespace suture::decode {
namespace {

constexpr double kCompactBelow = 0.75;  // share of live rows under which finished ones are dropped from the batch

class BatchRun {
 public:
  BatchRun(NextToken& next, const std::vector<Prompt>& prompts, const GenerateOptions& options,
           std::vector<size_t> index, std::vector<Completion>& out, const Done& done)
      : next_(next), options_(options), index_(std::move(index)), live_(index_.size(), 1), out_(out), done_(done) {
    for (const size_t i : index_) streams_.emplace_back(options.seed, fmt::format("generate/{}", i));
    std::vector<Prompt> mine;
    for (const size_t i : index_) mine.push_back(prompts[i]);
    logits_ = next_.prefill(mine, options.max_new);
    const std::vector<char> gates = next_.gates();
    for (size_t b = 0; b < gates.size(); ++b) out_[index_[b]].gate_open = gates[b] != 0;
  }

  void run() {
    for (int64_t made = 1;; ++made) {
      throw_if_interrupted();
      std::vector<int32_t> ids = choose(logits_, options_.sampling, streams_);
      for (size_t b = 0; b < ids.size(); ++b)
        if (live_[b]) take(b, ids[b], made);
      if (options_.on_step) options_.on_step(int64_t(ids.size()));
      const auto live = size_t(std::count(live_.begin(), live_.end(), 1));
      if (live == 0) return;
      if (double(live) < kCompactBelow * double(live_.size())) compact(ids);
      logits_ = next_.step(ids);
    }
  }

 private:
  void take(size_t b, int32_t id, int64_t made) {
    Completion& completion = out_[index_[b]];
    const bool stop = std::find(options_.stop_ids.begin(), options_.stop_ids.end(), id) != options_.stop_ids.end();
    if (!stop) completion.ids.push_back(id);
    if (!stop && made < options_.max_new) return;
    completion.finish = stop ? Finish::kStop : Finish::kLength;
    live_[b] = 0;
    if (done_) done_(index_[b], completion);
  }

  void compact(std::vector<int32_t>& ids) {
    std::vector<int64_t> rows;
    for (size_t b = 0; b < live_.size(); ++b)
      if (live_[b]) rows.push_back(int64_t(b));
    next_.keep_rows(rows);
    std::vector<int32_t> kept_ids;
    std::vector<size_t> kept_index;
    std::vector<Stream> kept_streams;
    for (const int64_t row : rows) {
      kept_ids.push_back(ids[size_t(row)]);
      kept_index.push_back(index_[size_t(row)]);
      kept_streams.push_back(streams_[size_t(row)]);
    }
    ids = std::move(kept_ids);
    index_ = std::move(kept_index);
    streams_ = std::move(kept_streams);
    live_.assign(index_.size(), 1);
  }

  NextToken& next_;
  const GenerateOptions& options_;
  std::vector<size_t> index_;
  std::vector<char> live_;
  std::vector<Stream> streams_;
  std::vector<Completion>& out_;
  const Done& done_;
  at::Tensor logits_;
};

}  // namespace

std::vector<Completion> generate(NextToken& next, const std::vector<Prompt>& prompts, const GenerateOptions& options,
                                 const Done& done) {
  const at::NoGradGuard no_grad;
  std::vector<Completion> out(prompts.size());
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return prompts[a].ids.size() > prompts[b].ids.size(); });
  for (size_t begin = 0; begin < order.size(); begin += size_t(options.batch)) {
    const size_t end = std::min(order.size(), begin + size_t(options.batch));
    BatchRun(next, prompts, options, {order.begin() + int64_t(begin), order.begin() + int64_t(end)}, out, done).run();
  }
  return out;
}

}  // namespace suture::decode
