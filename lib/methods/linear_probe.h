// SPDX-License-Identifier: Apache-2.0
// A linear probe that tells harmful from harmless prompts: Fisher's linear discriminant with shrinkage.
//
//   w = (S + ρ·diag(S))⁻¹ (μ₁ − μ₀),  score(x) = w·x − w·(μ₀+μ₁)/2       S: pooled within-class covariance
//
// Shrinking towards the diagonal leaves a few directions of huge variance, which residual streams have, from deciding
// how much all others are smoothed. Scaled so that the class means score ±1. The threshold is chosen on data the probe
// was not fitted to: halfway between the highest harmless and the lowest harmful score when they are apart, else where
// the two error rates together are least; or, when a share of false alarms is allowed, where as many harmful prompts as
// possible are caught within it.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace suture::methods {

struct Probe {
  at::Tensor weight_D;  // fp32
  double bias = 0;
};

struct ProbeCheck {
  double threshold = 0;
  double area = 0;          // under the ROC curve, ties half
  double caught = 0;        // share of harmful prompts above the threshold
  double false_alarms = 0;  // share of harmless prompts above it
  int64_t harmful = 0, harmless = 0;
};

// Rows are prompts: [N1,D] and [N0,D], at least two each. Error(kData).
Probe fit_probe(const at::Tensor& harmful_ND, const at::Tensor& harmless_ND, double shrinkage);
std::vector<double> probe_scores(const Probe& probe, const at::Tensor& x_ND);
ProbeCheck choose_threshold(const std::vector<double>& harmful, const std::vector<double>& harmless,
                            std::optional<double> allowed_false_alarms = std::nullopt);

}  // namespace suture::methods
