// SPDX-License-Identifier: Apache-2.0
// Log-probabilities of given texts, and how far a model's distributions lie from another's.
#pragma once
#include <utility>

#include "hook/plan.h"
#include "model/transformer.h"

namespace suture::decode {

struct TokenScore {
  int32_t id = 0;
  double log_prob = 0;                          // natural logarithm; NaN for the first token, which nothing predicts
  std::vector<std::pair<int32_t, double>> top;  // best first, when asked for
};

struct TextScore {
  std::vector<TokenScore> tokens;
  int64_t counted = 0;        // tokens in the sum
  double nll = 0;             // sum of −log p, nats
  double perplexity() const;  // exp(nll / counted)
};

// `context` leading tokens are given, not scored; with a plan they are the prompt (at least 1).
struct ScoreText {
  std::vector<int32_t> ids;
  int64_t context = 1;
};

// One forward pass a text, at most `batch_tokens` positions of logits at a time.
TextScore score(const model::Transformer& model, const ScoreText& text, const hook::Plan* plan, int64_t top_k = 0);

// The reference model's side of KL(reference ‖ model), kept as final hidden states and its head, so that the
// reference need not stay loaded: N·D + V·D numbers instead of N·V.
struct Reference {
  std::vector<at::Tensor> hidden_TD;  // a text each
  model::Head head;
};

struct Divergence {
  std::vector<double> kl;   // nats, per scored token
  std::vector<double> nll;  // per scored token
  double mean_kl() const;
  double perplexity() const;
};

Reference make_reference(const model::Transformer& model, const std::vector<ScoreText>& texts);
// `reference` may be null: only the log-likelihoods are filled then.
Divergence compare(const model::Transformer& model, const std::vector<ScoreText>& texts, const hook::Plan* plan,
                   const Reference* reference);

}  // namespace suture::decode
