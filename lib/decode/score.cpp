// SPDX-License-Identifier: Apache-2.0
#include "decode/score.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/progress.h"

namespace suture::decode {
namespace {

constexpr int64_t kPositions = 128;  // positions of logits held at once: 25 MB at a vocabulary of 49,152

at::Tensor final_states_TD(const model::Transformer& model, const ScoreText& text, const hook::Plan* plan) {
  model::Batch batch = model::pad_left({text.ids});
  batch.tokens.prompt_length = {std::max<int64_t>(text.context, 1)};
  if (plan == nullptr || plan->empty())
    return model.final_norm(model.forward(batch, nullptr, nullptr), batch.tokens, nullptr)[0];
  hook::PlanRun run(*plan);
  return model.final_norm(model.forward(batch, nullptr, &run), batch.tokens, &run)[0];
}

at::Tensor targets(const ScoreText& text, int64_t begin, int64_t count) {
  std::vector<int64_t> next;
  for (int64_t t = begin; t < begin + count; ++t) next.push_back(text.ids[size_t(t + 1)]);
  return at::tensor(next, at::kLong);
}

// Calls fn(begin, log_probs [n,V] fp32) over positions begin.. that predict the next token.
template <class Fn>
void for_positions(const model::Transformer& model, const at::Tensor& hidden_TD, int64_t first, int64_t last, Fn&& fn) {
  for (int64_t begin = first; begin < last; begin += kPositions) {
    const int64_t count = std::min(kPositions, last - begin);
    fn(begin, count, at::log_softmax(model.head(hidden_TD.narrow(0, begin, count)).to(at::kFloat), -1));
  }
}

double mean(const std::vector<double>& x) {
  return x.empty() ? std::numeric_limits<double>::quiet_NaN()
                   : std::accumulate(x.begin(), x.end(), 0.0) / double(x.size());
}

void append(std::vector<double>& out, const at::Tensor& values) {
  const at::Tensor x = values.to(at::kCPU, at::kDouble).contiguous();
  out.insert(out.end(), x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel());
}

}  // namespace

double TextScore::perplexity() const { return std::exp(nll / double(counted)); }
double Divergence::mean_kl() const { return mean(kl); }
double Divergence::perplexity() const { return std::exp(mean(nll)); }

TextScore score(const model::Transformer& model, const ScoreText& text, const hook::Plan* plan, int64_t top_k) {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = final_states_TD(model, text, plan);
  const int64_t length = int64_t(text.ids.size());
  TextScore result;
  for (const int32_t id : text.ids) result.tokens.push_back({id, std::numeric_limits<double>::quiet_NaN(), {}});
  for_positions(model, hidden, 0, length, [&](int64_t begin, int64_t count, const at::Tensor& log_p) {
    for (int64_t i = 0; i < count; ++i) {
      if (begin + i + 1 < length) {
        TokenScore& token = result.tokens[size_t(begin + i + 1)];
        token.log_prob = log_p[i][token.id].item<double>();
        if (begin + i + 1 >= text.context) {
          result.nll -= token.log_prob;
          ++result.counted;
        }
      }
      if (top_k > 0) {
        const auto [value, index] = at::topk(log_p[i], std::min(top_k, log_p.size(1)));
        for (int64_t k = 0; k < value.size(0); ++k)
          result.tokens[size_t(begin + i)].top.emplace_back(int32_t(index[k].item<int64_t>()), value[k].item<double>());
      }
    }
  });
  return result;
}

Reference make_reference(const model::Transformer& model, const std::vector<ScoreText>& texts) {
  const at::NoGradGuard no_grad;
  Reference reference;
  Progress progress("neutral text, reference", int64_t(texts.size()), "texts");
  for (const ScoreText& text : texts) {
    reference.hidden_TD.push_back(final_states_TD(model, text, nullptr));
    progress.advance();
  }
  reference.head = model.head();
  return reference;
}

Divergence compare(const model::Transformer& model, const std::vector<ScoreText>& texts, const hook::Plan* plan,
                   const Reference* reference) {
  const at::NoGradGuard no_grad;
  Divergence result;
  Progress progress("neutral text", int64_t(texts.size()), "texts");
  for (size_t i = 0; i < texts.size(); ++i) {
    const ScoreText& text = texts[i];
    const at::Tensor hidden = final_states_TD(model, text, plan);
    const int64_t first = std::max<int64_t>(text.context, 1) - 1, last = int64_t(text.ids.size()) - 1;
    for_positions(model, hidden, first, last, [&](int64_t begin, int64_t count, const at::Tensor& log_q) {
      append(result.nll, -log_q.gather(1, targets(text, begin, count).unsqueeze(1).to(log_q.device())).squeeze(1));
      if (reference == nullptr) return;
      const at::Tensor state = reference->hidden_TD[i].narrow(0, begin, count);
      const at::Tensor log_p = at::log_softmax(reference->head(state).to(at::kFloat), -1);
      append(result.kl, (log_p.exp() * (log_p - log_q)).sum(-1));
    });
    progress.advance();
  }
  return result;
}

}  // namespace suture::decode
