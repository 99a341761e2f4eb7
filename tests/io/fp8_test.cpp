// SPDX-License-Identifier: Apache-2.0
#include "io/fp8.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const SafetensorsFile> fixture() {
  return SafetensorsFile::open(fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/io/fp8.safetensors");
}

TEST(Fp8, EqualsTorchForEveryNumberAndEachKindOfScale) {
  const auto file = fixture();
  for (const std::string weight : {"e4m3", "e5m2"})
    for (const std::string scale : {"block", "block_bf16", "row", "one"})
      for (const auto& [suffix, dtype] : {std::pair(".fp32", at::kFloat), std::pair(".bf16", at::kBFloat16)}) {
        const at::Tensor made =
            dequantise_fp8(weight, fp8_tensor(file, weight), file->tensor("scale." + scale), {4, 8}, dtype);
        EXPECT_EQ(made.scalar_type(), dtype);
        EXPECT_TRUE(at::equal(made, file->tensor(weight + "." + scale + suffix))) << weight << " " << scale;
      }
}

// Blocks of 128 x 128 on a matrix that they do not fill: each element is its block's scale.
TEST(Fp8, BlocksOf128ByDefault) {
  const at::Tensor weight = at::ones({300, 130}).to(at::kFloat8_e4m3fn);
  const at::Tensor scale = at::tensor({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}).view({3, 2});
  const at::Tensor made = dequantise_fp8("w", weight, scale);
  ASSERT_EQ(made.scalar_type(), at::kBFloat16);
  for (int64_t row : {0, 127, 128, 255, 256, 299})
    for (int64_t column : {0, 127, 128, 129})
      EXPECT_EQ(made[row][column].item<float>(), scale[row / 128][column / 128].item<float>()) << row << " " << column;
}

TEST(Fp8, RowsOneMatrixAndStacks) {
  const at::Tensor weight = at::ones({2, 3, 4}).to(at::kFloat8_e5m2);
  const at::Tensor rows = at::tensor({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}).view({2, 3, 1});
  EXPECT_TRUE(at::equal(dequantise_fp8("w", weight, rows, {}, at::kFloat), rows.expand({2, 3, 4})));
  const at::Tensor each = at::tensor({7.f, 8.f}).view({2, 1, 1});
  EXPECT_TRUE(at::equal(dequantise_fp8("w", weight, each, {}, at::kFloat), each.expand({2, 3, 4})));
  EXPECT_TRUE(at::equal(dequantise_fp8("w", weight, at::full({1}, 2.0), {}, at::kFloat), at::full({2, 3, 4}, 2.0f)));
  const at::Tensor flat = at::tensor({1.f, 2.f, 3.f});
  EXPECT_TRUE(at::equal(dequantise_fp8("w", weight[0], flat, {}, at::kFloat), flat.view({3, 1}).expand({3, 4})));
}

TEST(Fp8, NotANumberStaysOne) {
  const at::Tensor weight = at::full({1, 2}, NAN).to(at::kFloat8_e4m3fn);
  EXPECT_TRUE(dequantise_fp8("w", weight, at::ones({})).isnan().all().item<bool>());
}

TEST(Fp8, EmptyWeights) {
  EXPECT_EQ(dequantise_fp8("w", at::zeros({0, 4}).to(at::kFloat8_e4m3fn), at::ones({})).sizes(),
            at::IntArrayRef({0, 4}));
}

TEST(Fp8, OtherShapesAreRefused) {
  const at::Tensor weight = at::ones({300, 130}).to(at::kFloat8_e4m3fn);
  const auto refused = [&](const at::Tensor& scale) {
    return complaint([&] { dequantise_fp8("layer.weight", weight, scale); });
  };
  EXPECT_EQ(refused(at::ones({2, 2})),
            "6: cannot dequantise 'layer.weight' of shape [300,130]: a scale of shape [2,2] is neither one number, nor "
            "one for each row, nor one for each block of 128 x 128");
  EXPECT_THAT(refused(at::ones({130})), HasSubstr("a scale of shape [130]"));
  EXPECT_THAT(refused(at::ones({1, 130})), HasSubstr("a scale of shape [1,130]"));
  EXPECT_THAT(refused(at::ones({0})), HasSubstr("a scale of shape [0]"));
  EXPECT_THAT(complaint([&] { dequantise_fp8("b", weight[0], at::ones({})); }), HasSubstr("expected a matrix"));
}

TEST(Fp8, ViewsAreOfEightBitFloatsOnly) {
  auto file = fixture();
  EXPECT_TRUE(is_fp8(file->info("e4m3").dtype));
  EXPECT_FALSE(is_fp8(file->info("scale.row").dtype));
  EXPECT_THAT(complaint([&] { fp8_tensor(file, "scale.row"); }), HasSubstr("70: cannot read dtype F32"));
  const at::Tensor view = fp8_tensor(file, "e4m3");
  EXPECT_EQ(view.const_data_ptr(), static_cast<const void*>(file->bytes("e4m3").data()));
  file.reset();
  EXPECT_EQ(view.to(at::kFloat)[0][1].item<float>(), 0x1p-9f) << "code 1 is the smallest subnormal";
}

}  // namespace
}  // namespace suture::io
