// SPDX-License-Identifier: Apache-2.0
// The statistics of an audit: shares with intervals, paired comparisons, corrections for many tests.
//
// Sources: Wilson 1927 (score interval); McNemar 1947 in its exact, two-sided binomial form; Holm 1979 (step-down);
// Efron 1979 (percentile bootstrap); Cohen 1960 (kappa). Levels are 95 % throughout.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "core/random.h"

namespace suture::audit {

inline constexpr double kZ95 = 1.959963984540054;  // the 97.5 % point of the standard normal distribution

// A measure with its 95 % interval. For shares: k of n. With n = 0 the three values are NaN, null in JSON.
struct Estimate {
  double estimate = 0, low = 0, high = 0;
  int64_t n = 0;
  std::optional<int64_t> k;
};

Json to_json(const Estimate& estimate);  // {estimate, low, high, n[, k]}

// Share k/n with the Wilson score interval; 0 <= k <= n.
Estimate wilson(int64_t k, int64_t n);

// Mean with a percentile-bootstrap interval. n = 1 gives an interval of width 0.
Estimate bootstrap_mean(std::span<const double> values, Stream& stream, int64_t resamples = 2000);

// What happened to each prompt between two subjects.
struct Flips {
  int64_t both = 0;    // yes under the reference and under the other
  int64_t lost = 0;    // yes → no
  int64_t gained = 0;  // no → yes
  int64_t neither = 0;
  int64_t pairs() const { return both + lost + gained + neither; }
};
Flips count_flips(const std::vector<bool>& reference, const std::vector<bool>& other);  // equal lengths

// P(as uneven a split of the flips, or more so) under the hypothesis that both directions are equally likely.
// No flips give 1.
double mcnemar_exact(int64_t lost, int64_t gained);

// Adjusted p-values, in the order given.
std::vector<double> holm(const std::vector<double>& p);

// Agreement of two raters beyond chance; none when chance agreement is complete.
std::optional<double> cohen_kappa(const std::vector<std::string>& a, const std::vector<std::string>& b);

}  // namespace suture::audit
