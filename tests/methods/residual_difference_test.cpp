// SPDX-License-Identifier: Apache-2.0
#include "methods/residual_difference.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace suture::methods {
namespace {

at::Tensor rows(std::vector<float> numbers) { return at::tensor(numbers, at::kFloat).view({-1, 2}); }

TEST(ResidualDifference, IsTheDifferenceOfMeansALayer) {
  const hook::Point first{hook::Site::kResidOut, 0}, second{hook::Site::kResidOut, 1}, other{hook::Site::kMlpOut, 0};
  const auto difference =
      residual_difference({{first, rows({1, 2, 3, 6})}, {second, rows({10, 20, 30, 40})}, {other, rows({9, 9})}},
                          {{first, rows({1, 1, 1, 1, 4, 1})}, {second, rows({0, 0})}, {other, rows({0, 0})}}, {0, 1});
  ASSERT_EQ(difference.size(), 2U);
  EXPECT_TRUE(difference.at(0).equal(at::tensor({0.F, 3.F})));  // (2,4) - (2,1), exact in fp32
  EXPECT_TRUE(difference.at(1).equal(at::tensor({20.F, 30.F})));
}

TEST(ResidualDifference, GivesTheLayersAskedFor) {
  const hook::Point first{hook::Site::kResidOut, 0}, third{hook::Site::kResidOut, 2};
  const auto difference = residual_difference({{first, rows({1, 2})}, {third, rows({3, 4})}},
                                              {{first, rows({0, 0})}, {third, rows({0, 0})}}, {2});
  ASSERT_EQ(difference.size(), 1U);
  EXPECT_TRUE(difference.at(2).equal(at::tensor({3.F, 4.F})));
}

}  // namespace
}  // namespace suture::methods
