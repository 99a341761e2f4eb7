// SPDX-License-Identifier: Apache-2.0
// Named random streams: the same seed and name give the same numbers on every machine and for any order of use.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace suture {

// SplitMix64 over a SHA-256 of (seed, name). Not for cryptography.
class Stream {
 public:
  Stream(uint64_t seed, std::string_view name);
  uint64_t next();
  double uniform();              // [0, 1), 53 bits
  int64_t below(int64_t bound);  // 0 .. bound-1, unbiased
  std::vector<int64_t> permutation(int64_t n);
  std::vector<int64_t> sample(int64_t n, int64_t k);  // k of 0..n-1 without replacement, in drawn order; k <= n

 private:
  uint64_t state_;
};

}  // namespace suture
