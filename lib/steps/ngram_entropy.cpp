// SPDX-License-Identifier: Apache-2.0
#include "steps/ngram_entropy.h"

#include <cmath>
#include <map>

namespace suture::steps {
namespace {

double entropy(const std::vector<int32_t>& ids, size_t n) {
  std::map<std::vector<int32_t>, int64_t> counts;
  int64_t total = 0;
  for (size_t i = 0; i + n <= ids.size(); ++i, ++total)
    ++counts[{ids.begin() + int64_t(i), ids.begin() + int64_t(i + n)}];
  double bits = 0;
  for (const auto& [gram, count] : counts)
    bits -= double(count) / double(total) * std::log2(double(count) / double(total));
  return bits;
}

}  // namespace

double ngram_entropy(const std::vector<int32_t>& ids) {
  return (2.0 / 3 * entropy(ids, 2) + 4.0 / 3 * entropy(ids, 3)) / 2;
}

}  // namespace suture::steps
