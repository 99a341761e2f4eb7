// SPDX-License-Identifier: Apache-2.0
#include "methods/linear_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/matmul.h>

#include <algorithm>

#include "core/error.h"

namespace suture::methods {
namespace {

// Of a direction in which no prompt differs, as a share of all variance: keeps the system solvable.
constexpr double kNoVariance = 1e-12;

double share_above(const std::vector<double>& scores, double threshold) {
  return double(std::count_if(scores.begin(), scores.end(), [&](double s) { return s > threshold; })) /
         double(scores.size());
}

}  // namespace

Probe fit_probe(const at::Tensor& harmful_ND, const at::Tensor& harmless_ND, double shrinkage) {
  if (harmful_ND.size(0) < 2 || harmless_ND.size(0) < 2)
    fail(Code::kData, "cannot fit a probe to {} harmful and {} harmless prompts: at least 2 of each are needed",
         harmful_ND.size(0), harmless_ND.size(0));
  const at::Tensor x1 = harmful_ND.to(at::kDouble), x0 = harmless_ND.to(at::kDouble);
  const at::Tensor mu1 = x1.mean(0), mu0 = x0.mean(0);
  const at::Tensor c1 = x1 - mu1, c0 = x0 - mu0;
  const at::Tensor S = (at::matmul(c1.t(), c1) + at::matmul(c0.t(), c0)) / double(x1.size(0) + x0.size(0) - 2);
  const at::Tensor regular = S + at::diag(shrinkage * S.diagonal().clamp_min(kNoVariance * S.trace()));
  at::Tensor w = at::linalg_solve(regular, mu1 - mu0);
  w = w * (2 / at::matmul(w, mu1 - mu0));
  const double bias = -at::matmul(w, (mu1 + mu0) / 2).item<double>();
  return {w.to(at::kFloat), bias};
}

std::vector<double> probe_scores(const Probe& probe, const at::Tensor& x_ND) {
  const at::Tensor scores = (at::matmul(x_ND.to(at::kFloat), probe.weight_D) + probe.bias).to(at::kDouble).contiguous();
  return {scores.const_data_ptr<double>(), scores.const_data_ptr<double>() + scores.numel()};
}

ProbeCheck choose_threshold(const std::vector<double>& harmful, const std::vector<double>& harmless,
                            std::optional<double> allowed) {
  if (harmful.empty() || harmless.empty())
    fail(Code::kData, "cannot choose a threshold without held-out prompts of both kinds");
  std::vector<double> all = harmful;
  all.insert(all.end(), harmless.begin(), harmless.end());
  std::sort(all.begin(), all.end());
  ProbeCheck best;
  best.threshold = all.back();
  double least = 3;
  for (size_t i = 0; i + 1 < all.size(); ++i) {
    const double threshold = (all[i] + all[i + 1]) / 2;
    const double missed = 1 - share_above(harmful, threshold), alarms = share_above(harmless, threshold);
    const double errors = allowed ? (alarms > *allowed ? 3 : missed) : missed + alarms;
    if (errors < least) {
      least = errors;
      best.threshold = threshold;
    }
  }
  double wins = 0;
  for (const double h : harmful)
    for (const double s : harmless) wins += h > s ? 1 : h == s ? 0.5 : 0;
  best.area = wins / double(harmful.size() * harmless.size());
  best.caught = share_above(harmful, best.threshold);
  best.false_alarms = share_above(harmless, best.threshold);
  best.harmful = int64_t(harmful.size());
  best.harmless = int64_t(harmless.size());
  return best;
}

}  // namespace suture::methods
