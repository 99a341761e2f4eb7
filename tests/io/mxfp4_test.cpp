// SPDX-License-Identifier: Apache-2.0
#include "io/mxfp4.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

TEST(Mxfp4, EqualsTransformersForEveryScale) {
  const auto file = SafetensorsFile::open(fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/io/mxfp4.safetensors");
  const at::Tensor made = dequantise_mxfp4("w", file->tensor("blocks"), file->tensor("scales"));
  const at::Tensor want = file->tensor("values");
  ASSERT_EQ(made.sizes(), want.sizes());
  ASSERT_TRUE(made.is_contiguous());
  EXPECT_TRUE(at::equal(made, want));
  EXPECT_TRUE(want.isinf().any().item<bool>()) << "scales 253 to 255 overflow for the largest values";
}

// One row: element i of the group is the value that its nibble stands for, times 2^(scale - 127).
TEST(Mxfp4, NibblesAndExponents) {
  at::Tensor blocks = at::zeros({1, 1, 1, 16}, at::kByte);
  for (int i = 0; i < 8; ++i) blocks[0][0][0][i] = (2 * i + 1) << 4 | 2 * i;
  const at::Tensor made = dequantise_mxfp4("w", blocks, at::full({1, 1, 1}, 128, at::kByte));
  ASSERT_EQ(made.sizes(), at::IntArrayRef({1, 32, 1}));
  const float doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12};
  for (int i = 0; i < 16; ++i) EXPECT_EQ(made[0][i][0].item<float>(), doubled[i]) << i;
}

// More rows than are taken together, each with its own exponent.
TEST(Mxfp4, RowsBecomeColumns) {
  const int64_t rows = 150;
  at::Tensor scales = at::zeros({2, rows, 3}, at::kByte);
  for (int64_t row = 0; row < rows; ++row) scales.select(1, row).fill_(100 + row % 50);
  const at::Tensor made = dequantise_mxfp4("w", at::full({2, rows, 3, 16}, 0x22, at::kByte), scales);  // all 1
  ASSERT_EQ(made.sizes(), at::IntArrayRef({2, 96, rows}));
  for (const int64_t row : {0, 63, 64, 127, 128, 149})
    EXPECT_TRUE((made.select(2, row) == std::ldexp(1.0, int(row % 50) - 27)).all().item<bool>()) << row;
}

TEST(Mxfp4, OtherShapesAreRefused) {
  const at::Tensor blocks = at::zeros({2, 3, 4, 16}, at::kByte);
  const auto refused = [](const at::Tensor& b, const at::Tensor& s) {
    return complaint([&] { dequantise_mxfp4("experts.down_proj", b, s); });
  };
  EXPECT_EQ(refused(blocks, at::zeros({2, 3}, at::kByte)),
            "6: cannot dequantise 'experts.down_proj': blocks are Byte [2,3,4,16], scales Byte [2,3]; expected U8 "
            "[E, O, G, 16] and U8 [E, O, G]");
  EXPECT_THAT(refused(blocks, at::zeros({2, 3, 4})), HasSubstr("scales Float"));
  EXPECT_THAT(refused(blocks[0], at::zeros({3, 4}, at::kByte)), HasSubstr("blocks are Byte [3,4,16]"));
  EXPECT_THAT(refused(at::zeros({2, 3, 4, 8}, at::kByte), at::zeros({2, 3, 4}, at::kByte)), HasSubstr("[2,3,4,8]"));
  EXPECT_EQ(dequantise_mxfp4("w", at::zeros({0, 3, 4, 16}, at::kByte), at::zeros({0, 3, 4}, at::kByte)).numel(), 0);
}

}  // namespace
}  // namespace suture::io
