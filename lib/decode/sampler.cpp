// SPDX-License-Identifier: Apache-2.0
#include "decode/sampler.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/topk.h>

#include <cmath>

#include "core/error.h"

namespace suture::decode {
namespace {

// A plain loop over contiguous floats vectorises and beats the general reduction severalfold on wide rows.
int32_t largest(const float* x, int64_t n) {
  constexpr int64_t kLanes = 16;
  float best[kLanes];
  int32_t unordered[kLanes] = {};  // a NaN loses every comparison and would go unseen
  std::fill(best, best + kLanes, -INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t j = 0; j < kLanes; ++j) {
      best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
      unordered[j] |= int32_t(x[i + j] != x[i + j]);
    }
  float top = *std::max_element(best, best + kLanes);
  for (; i < n; ++i) {
    top = std::max(top, x[i]);
    unordered[0] |= int32_t(x[i] != x[i]);
  }
  if (std::find(unordered, unordered + kLanes, 1) != unordered + kLanes) return -1;
  const float* at = std::find(x, x + n, top);
  return at == x + n ? -1 : int32_t(at - x);
}

std::vector<int32_t> greedy(const at::Tensor& logits) {
  const at::Tensor x = logits.to(at::kCPU, at::kFloat).contiguous();
  const float* data = x.const_data_ptr<float>();
  const int64_t width = x.size(1);
  std::vector<int32_t> ids(size_t(x.size(0)));
  at::parallel_for(0, x.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) ids[size_t(b)] = largest(data + b * width, width);
  });
  return ids;
}

// The index at which the running sum of `mass` passes `point`.
int64_t pick(const double* mass, int64_t count, double point) {
  int64_t chosen = 0;
  while (chosen + 1 < count && (point -= mass[chosen]) >= 0) ++chosen;
  return chosen;
}

int32_t draw(const at::Tensor& row, const Sampling& sampling, Stream& stream) {
  const at::Tensor scaled = row.to(at::kDouble) / sampling.temperature;
  if (sampling.top_k <= 0 && sampling.top_p >= 1) {  // nothing to cut off, so nothing to sort
    const at::Tensor p = scaled.softmax(0).contiguous();
    return int32_t(pick(p.const_data_ptr<double>(), p.numel(), stream.uniform() * p.sum().item<double>()));
  }
  const int64_t keep = sampling.top_k > 0 ? std::min(sampling.top_k, row.size(0)) : row.size(0);
  const auto [value, index] = at::topk(scaled, keep);
  const at::Tensor p = value.softmax(0).contiguous();
  const double* mass = p.const_data_ptr<double>();
  int64_t count = 0;
  double total = 0;
  while (count < keep && (count == 0 || total < sampling.top_p)) total += mass[count++];
  return int32_t(index[pick(mass, count, stream.uniform() * total)].item<int64_t>());
}

}  // namespace

std::vector<int32_t> choose(const at::Tensor& logits_BV, const Sampling& sampling, std::vector<Stream>& streams) {
  std::vector<int32_t> ids = greedy(logits_BV);
  if (std::find(ids.begin(), ids.end(), -1) != ids.end())
    fail(Code::kNumerics, "cannot choose a token: the model's logits are not numbers");
  if (sampling.temperature <= 0) return ids;
  const at::Tensor logits = logits_BV.to(at::kCPU, at::kFloat);
  for (size_t b = 0; b < ids.size(); ++b) ids[b] = draw(logits[int64_t(b)], sampling, streams[b]);
  return ids;
}

}  // namespace suture::decode
