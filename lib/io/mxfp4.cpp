// SPDX-License-Identifier: Apache-2.0
#include "io/mxfp4.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/json.h"

namespace suture::io {
namespace {

constexpr int64_t kBytes = 16;  // of a group of 32 elements
constexpr int64_t kTile = 64;   // rows taken together, so that the transposed writes fill cache lines
constexpr std::array<float, 16> kLevels = {0,     0.5f,  1,     1.5f,  2,     3,     4,     6,
                                           -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// All products of a level and a power of two: [scale][nibble].
using Products = std::array<std::array<at::BFloat16, 16>, 256>;

const Products& products() {
  static const Products kProducts = [] {
    Products table;
    for (size_t scale = 0; scale < table.size(); ++scale)
      for (size_t level = 0; level < kLevels.size(); ++level)
        table[scale][level] = std::ldexp(kLevels[level], int(scale) - 127);
    return table;
  }();
  return kProducts;
}

// Rows [first, last) of one expert: `blocks` [O, G, 16], `scales` [O, G], `out` [32 G, O].
void unpack(const uint8_t* blocks, const uint8_t* scales, at::BFloat16* out, int64_t rows, int64_t groups,
            int64_t first, int64_t last) {
  const Products& table = products();
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t byte = 0; byte < kBytes; ++byte) {
      at::BFloat16* even = out + (group * 2 * kBytes + 2 * byte) * rows;
      for (int64_t row = first; row < last; ++row) {
        const auto& values = table[scales[row * groups + group]];
        const uint8_t packed = blocks[(row * groups + group) * kBytes + byte];
        even[row] = values[packed & 15];
        even[rows + row] = values[packed >> 4];
      }
    }
}

}  // namespace

at::Tensor dequantise_mxfp4(const std::string& name, const at::Tensor& blocks, const at::Tensor& scales) {
  if (blocks.scalar_type() != at::kByte || scales.scalar_type() != at::kByte || blocks.dim() != 4 ||
      blocks.size(3) != kBytes || scales.sizes() != blocks.sizes().slice(0, 3))
    fail(Code::kModel,
         "cannot dequantise '{}': blocks are {} {}, scales {} {}; expected U8 [E, O, G, {}] and U8 [E, O, G]", name,
         c10::toString(blocks.scalar_type()), Json(blocks.sizes().vec()).dump(), c10::toString(scales.scalar_type()),
         Json(scales.sizes().vec()).dump(), kBytes);
  const at::Tensor packed = blocks.contiguous(), powers = scales.contiguous();
  const int64_t experts = blocks.size(0), rows = blocks.size(1), groups = blocks.size(2);
  at::Tensor values = at::empty({experts, groups * 2 * kBytes, rows}, at::kBFloat16);
  if (values.numel() == 0) return values;
  const int64_t tiles = (rows + kTile - 1) / kTile;
  const uint8_t *from = packed.const_data_ptr<uint8_t>(), *exponents = powers.const_data_ptr<uint8_t>();
  at::BFloat16* to = values.mutable_data_ptr<at::BFloat16>();
  at::parallel_for(0, experts * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t expert = i / tiles, first = i % tiles * kTile;
      unpack(from + expert * rows * groups * kBytes, exponents + expert * rows * groups,
             to + expert * rows * groups * 2 * kBytes, rows, groups, first, std::min(rows, first + kTile));
    }
  });
  return values;
}

}  // namespace suture::io
