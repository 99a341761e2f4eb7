// SPDX-License-Identifier: Apache-2.0
#include "model/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace suture::model {
namespace {

// Few rows take LibTorch's own kernel, many rows may take the widened one: both are rounded to the nearest of the exact
// product, up to a neighbouring number of the dtype when the sum lies near the middle of two.
TEST(LinearTest, EqualsTheExactProductInEveryDtypeAndForAnyNumberOfRows) {
  const at::Tensor weight = at::randn({24, 40}), bias = at::randn({24});
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf})
    for (const int64_t rows : {1, 2, 3, 64})
      for (const bool biased : {false, true}) {
        const at::Tensor w = weight.to(dtype), b = bias.to(dtype), x = at::randn({2, rows, 40}).to(dtype);
        const at::Tensor y = Linear(w, biased ? b : at::Tensor())(x);
        at::Tensor exact = at::linear(x.to(at::kDouble), w.to(at::kDouble));
        if (biased) exact = exact + b.to(at::kDouble);
        ASSERT_EQ(y.scalar_type(), dtype);
        ASSERT_EQ(y.sizes(), exact.sizes());
        // Half a unit in the last place: 2^-24 in fp32 (and 40 rounded sums), 2^-9 in bf16, 2^-12 in fp16; doubled for
        // a bias that LibTorch adds after rounding. Values reach 25.
        const double relative = dtype == at::kFloat ? 40 * 0x1p-24 : dtype == at::kBFloat16 ? 0x1p-8 : 0x1p-11;
        EXPECT_LT((y.to(at::kDouble) - exact).abs().max().item<double>(), 25 * 2 * relative)
            << at::toString(dtype) << " " << rows << " " << biased;
      }
}

TEST(LinearTest, WideAndNarrowPathsAgree) {
  const Linear linear(at::randn({24, 40}).to(at::kBFloat16), at::randn({24}).to(at::kBFloat16));
  const at::Tensor x = at::randn({8, 40}).to(at::kBFloat16);
  const at::Tensor together = linear(x);
  for (int64_t i = 0; i < 8; ++i)
    EXPECT_LT((linear(x.narrow(0, i, 1))[0].to(at::kFloat) - together[i].to(at::kFloat)).abs().max().item<float>(),
              25 * 0x1p-7F);
}

TEST(LinearTest, KnowsItsWidthsAndSharesItsWeight) {
  const at::Tensor weight = at::randn({24, 40});
  const Linear linear(weight, {});
  EXPECT_EQ(linear.in(), 40);
  EXPECT_EQ(linear.out(), 24);
  EXPECT_TRUE(bool(linear));
  EXPECT_FALSE(bool(Linear()));
  EXPECT_EQ(linear.weight().data_ptr(), weight.data_ptr());
}

}  // namespace
}  // namespace suture::model
