// SPDX-License-Identifier: Apache-2.0
#include "tensor/shape.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace suture::tensor {
namespace {

std::string refusal(const at::Tensor& tensor, const std::vector<Dim>& dims) {
  try {
    require_shape(tensor, dims, "weight 'x'");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Shape, SaysExpectedAndGot) {
  EXPECT_EQ(refusal(at::zeros({2, 3}), {{"D", 2}, {"F", 3}}), "");
  EXPECT_EQ(refusal(at::zeros({2, 3}), {{"D"}, {"F", 3}}), "");
  EXPECT_EQ(refusal(at::zeros({3, 2}), {{"D", 2}, {"F", 3}}), "weight 'x': expected [D=2, F=3], got [3, 2]");
  EXPECT_EQ(refusal(at::zeros({3}), {{"B"}, {"F", 3}}), "weight 'x': expected [B, F=3], got [3]");
  EXPECT_EQ(refusal(at::zeros({3, 2}), {{"F"}, {"F"}}), "weight 'x': expected [F, F], got [3, 2]");
  EXPECT_EQ(refusal(at::Tensor(), {{"F"}}), "weight 'x': expected [F], got nothing");
}

}  // namespace
}  // namespace suture::tensor
