// SPDX-License-Identifier: Apache-2.0
#include "core/random.h"

#include <numeric>
#include <string>
#include <utility>

#include "core/digest.h"
#include "core/error.h"

namespace suture {

Stream::Stream(uint64_t seed, std::string_view name)
    : state_(std::stoull(sha256(fmt::format("{}/{}", seed, name)).substr(0, 16), nullptr, 16)) {}

uint64_t Stream::next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

double Stream::uniform() { return double(next() >> 11) * 0x1.0p-53; }

int64_t Stream::below(int64_t bound) {
  if (bound <= 0) fail(Code::kBug, "cannot draw below {}", bound);
  const uint64_t n = uint64_t(bound);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
  uint64_t x = next();
  while (x >= limit) x = next();
  return int64_t(x % n);
}

std::vector<int64_t> Stream::permutation(int64_t n) { return sample(n, n); }

std::vector<int64_t> Stream::sample(int64_t n, int64_t k) {
  if (k > n) fail(Code::kBug, "cannot draw {} of {} without replacement", k, n);
  std::vector<int64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  for (int64_t i = 0; i < k; ++i) std::swap(all[size_t(i)], all[size_t(i + below(n - i))]);
  all.resize(size_t(k));
  return all;
}

}  // namespace suture
