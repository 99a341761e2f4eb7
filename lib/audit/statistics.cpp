// SPDX-License-Identifier: Apache-2.0
#include "audit/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace suture::audit {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// P(X >= k) for X ~ Binomial(n, 1/2).
double upper_tail(int64_t k, int64_t n) {
  const double all = std::lgamma(static_cast<double>(n) + 1) - static_cast<double>(n) * std::log(2.0);
  double tail = 0;
  for (int64_t i = k; i <= n; ++i) {
    tail += std::exp(all - std::lgamma(static_cast<double>(i) + 1) - std::lgamma(static_cast<double>(n - i) + 1));
  }
  return std::min(tail, 1.0);
}

double quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

Json to_json(const Estimate& estimate) {
  Json json = {{"estimate", number(estimate.estimate)},
               {"low", number(estimate.low)},
               {"high", number(estimate.high)},
               {"n", estimate.n}};
  if (estimate.k) json["k"] = *estimate.k;
  return json;
}

Estimate wilson(int64_t k, int64_t n) {
  if (k < 0 || n < 0 || k > n) fail(Code::kBug, "no share: {} of {}", k, n);
  if (n == 0) return {kNaN, kNaN, kNaN, 0, 0};
  const double z = kZ95, m = static_cast<double>(n), p = static_cast<double>(k) / m;
  const double centre = (p + z * z / (2 * m)) / (1 + z * z / m);
  const double half = z / (1 + z * z / m) * std::sqrt(p * (1 - p) / m + z * z / (4 * m * m));
  const double low = k == 0 ? 0 : std::max(0.0, centre - half), high = k == n ? 1 : std::min(1.0, centre + half);
  return {p, low, high, n, k};
}

Estimate bootstrap_mean(std::span<const double> values, Stream& stream, int64_t resamples) {
  const auto n = static_cast<int64_t>(values.size());
  if (n == 0) return {kNaN, kNaN, kNaN, 0, {}};
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& resampled : means) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += values[static_cast<size_t>(stream.below(n))];
    resampled = sum / static_cast<double>(n);
  }
  std::sort(means.begin(), means.end());
  return {mean(values), quantile(means, 0.025), quantile(means, 0.975), n, {}};
}

Flips count_flips(const std::vector<bool>& reference, const std::vector<bool>& other) {
  if (reference.size() != other.size())
    fail(Code::kBug, "cannot pair {} with {} outcomes", reference.size(), other.size());
  Flips flips;
  for (size_t i = 0; i < reference.size(); ++i) {
    ++(reference[i] ? (other[i] ? flips.both : flips.lost) : (other[i] ? flips.gained : flips.neither));
  }
  return flips;
}

double mcnemar_exact(int64_t lost, int64_t gained) {
  return std::min(1.0, 2 * upper_tail(std::max(lost, gained), lost + gained));
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

std::optional<double> cohen_kappa(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  if (a.size() != b.size()) fail(Code::kBug, "cannot compare {} with {} ratings", a.size(), b.size());
  if (a.empty()) return {};
  std::map<std::string, double> share_a, share_b;
  const double n = static_cast<double>(a.size());
  double agreed = 0, by_chance = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    share_a[a[i]] += 1 / n;
    share_b[b[i]] += 1 / n;
    agreed += a[i] == b[i] ? 1 / n : 0;
  }
  for (const auto& [label, share] : share_a) by_chance += share * share_b[label];
  if (1 - by_chance < 1e-12) return {};
  return (agreed - by_chance) / (1 - by_chance);
}

}  // namespace suture::audit
