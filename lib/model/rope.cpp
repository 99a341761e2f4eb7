// SPDX-License-Identifier: Apache-2.0
#include "model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <numbers>

namespace suture::model {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

at::Tensor powers(double theta, int64_t dim) { return at::pow(theta, at::arange(0, dim, 2, at::kFloat) / double(dim)); }

// Long waves are slowed, short ones kept, those between are mixed.
at::Tensor llama3(const Rope& rope, const at::Tensor& plain) {
  const double low = rope.original_context / rope.low_freq_factor, high = rope.original_context / rope.high_freq_factor;
  const at::Tensor wave = kTurn / plain, slowed = plain / rope.factor;
  const at::Tensor mix =
      (rope.original_context / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor mixed = (1 - mix) * slowed + mix * plain;
  return at::where(wave > low, slowed, at::where(wave < high, plain, mixed));
}

// The dimension that turns `turns` times within the original context (YaRN, equation 23).
double correction(const Rope& rope, double turns) {
  return double(rope.dim) * std::log(rope.original_context / (turns * kTurn)) / (2 * std::log(rope.theta));
}

at::Tensor yarn(const Rope& rope) {
  double low = correction(rope, rope.beta_fast), high = correction(rope, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, double(rope.dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(rope.dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  const at::Tensor base = powers(rope.theta, rope.dim);
  return (1 / (rope.factor * base)) * ramp + (1 / base) * (1 - ramp);
}

at::Tensor longrope(const Rope& rope, const std::vector<double>& factors) {
  return 1 / (at::tensor(std::vector<float>(factors.begin(), factors.end())) * powers(rope.theta, rope.dim));
}

at::Tensor base_frequencies(const Rope& rope) {
  switch (rope.kind) {
    case RopeKind::kLinear:
      return 1 / powers(rope.theta, rope.dim) / rope.factor;
    case RopeKind::kLlama3:
      return llama3(rope, 1 / powers(rope.theta, rope.dim));
    case RopeKind::kYarn:
      return yarn(rope);
    case RopeKind::kLongrope:
      return longrope(rope, rope.short_factor);
    case RopeKind::kDefault:
    case RopeKind::kDynamic:
      break;
  }
  return 1 / powers(rope.theta, rope.dim);
}

}  // namespace

RotaryTable::RotaryTable(const Rope& rope, bool pairs, at::Device device)
    : rope_(rope), pairs_(pairs), base_(base_frequencies(rope).to(device)) {
  if (rope.kind == RopeKind::kLongrope) long_ = longrope(rope, rope.long_factor).to(device);
}

at::Tensor RotaryTable::frequencies_for(int64_t length) const {
  if (double(length) <= rope_.original_context) return base_;
  if (rope_.kind == RopeKind::kLongrope) return long_;
  if (rope_.kind != RopeKind::kDynamic) return base_;
  const double dim = double(rope_.dim), stretch = rope_.factor * double(length) / rope_.original_context;
  const double theta = rope_.theta * std::pow(stretch - (rope_.factor - 1), dim / (dim - 2));
  return (1 / powers(theta, rope_.dim)).to(base_.device());
}

Rotation RotaryTable::rotation(const at::Tensor& position_BT, at::ScalarType dtype) const {
  const bool by_length = rope_.kind == RopeKind::kLongrope || rope_.kind == RopeKind::kDynamic;
  const at::Tensor frequency = by_length ? frequencies_for(position_BT.max().item<int64_t>() + 1) : base_;
  const at::Tensor angle = position_BT.to(frequency.device(), at::kFloat).unsqueeze(-1) * frequency;
  const at::Tensor both = (pairs_ ? angle.repeat_interleave(2, -1) : at::cat({angle, angle}, -1)).unsqueeze(1);
  const auto scaled = [&](const at::Tensor& t) {
    return (rope_.attention_factor == 1 ? t : t * rope_.attention_factor).to(dtype);
  };
  return {scaled(both.cos()), scaled(both.sin())};
}

at::Tensor rotate(const at::Tensor& x_BHTd, const Rotation& rotation, bool pairs) {
  const int64_t dim = rotation.cos_BT1d.size(-1), rest = x_BHTd.size(-1) - dim;
  const at::Tensor x = rest == 0 ? x_BHTd : x_BHTd.narrow(-1, 0, dim);
  at::Tensor turned;
  if (pairs)
    turned = at::stack({-x.slice(-1, 1, std::nullopt, 2), x.slice(-1, 0, std::nullopt, 2)}, -1).flatten(-2);
  else
    turned = at::cat({-x.narrow(-1, dim / 2, dim / 2), x.narrow(-1, 0, dim / 2)}, -1);
  const at::Tensor rotated = x * rotation.cos_BT1d + turned * rotation.sin_BT1d;
  return rest == 0 ? rotated : at::cat({rotated, x_BHTd.narrow(-1, dim, rest)}, -1);
}

}  // namespace suture::model
