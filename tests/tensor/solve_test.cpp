// SPDX-License-Identifier: Apache-2.0
#include "tensor/solve.h"

#include <ATen/ops/diag.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace suture::tensor {
namespace {

using ::testing::HasSubstr;

TEST(SolveSpd, ClosedFormWithoutRidge) {
  // [[4,1],[1,3]] x = [1,2] has x = [1/11, 7/11].
  const at::Tensor a = at::tensor({4.0, 1.0, 1.0, 3.0}, at::kDouble).view({2, 2});
  const SpdSolution solution = solve_spd(a, at::tensor({1.0, 2.0}, at::kDouble), 0);
  EXPECT_NEAR(solution.x[0].item<double>(), 1.0 / 11, 1e-14);  // a few fp64 roundings
  EXPECT_NEAR(solution.x[1].item<double>(), 7.0 / 11, 1e-14);
  EXPECT_EQ(solution.ridge, 0);
  const double root = std::sqrt(5.0);                              // eigenvalues (7 ± √5) / 2
  EXPECT_NEAR(solution.condition, (7 + root) / (7 - root), 1e-2);  // iteration stops at 1e-4 change
}

TEST(SolveSpd, RidgeIsAFractionOfTheMeanDiagonal) {
  const at::Tensor a = at::diag(at::tensor({1.0, 3.0}, at::kDouble));
  const SpdSolution solution = solve_spd(a, at::tensor({3.0, 5.0}, at::kDouble), 1.0);  // ridge (1+3)/2 · 1 = 2
  EXPECT_EQ(solution.ridge, 2);
  EXPECT_NEAR(solution.x[0].item<double>(), 1, 1e-14);
  EXPECT_NEAR(solution.x[1].item<double>(), 1, 1e-14);
  EXPECT_NEAR(solution.condition, 5.0 / 3, 1e-2);
}

TEST(SolveSpd, IllConditionedConditionNumber) {
  const at::Tensor a = at::diag(at::tensor({1e-8, 1e-3, 1.0, 100.0}, at::kDouble));
  EXPECT_NEAR(SpdSolver(a, 0).condition() / 1e10, 1, 0.02);
}

TEST(SolveSpd, OneFactorServesManyRightHandSides) {
  const at::Tensor a = at::tensor({4.0, 1.0, 1.0, 3.0}, at::kDouble).view({2, 2});
  const SpdSolver solver(a, 0);
  const at::Tensor inverse = solver.solve(at::eye(2, at::kDouble));
  EXPECT_LT((at::mm(a, inverse) - at::eye(2, at::kDouble)).abs().max().item<double>(), 1e-14);
  EXPECT_EQ(solver.solve(at::ones({2})).sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(solver.solve(at::ones({2})).scalar_type(), at::kDouble);
}

std::string refusal(const at::Tensor& a, double ridge) {
  try {
    SpdSolver solver(a, ridge);
  } catch (const Error& error) {
    return fmt::format("{}: {}", int(error.code()), error.what());
  }
  return "";
}

TEST(SolveSpd, RefusesWithTheRidge) {
  EXPECT_THAT(refusal(at::diag(at::tensor({1.0, -3.0}, at::kDouble)), 0),
              HasSubstr("7: cannot solve: the 2x2 matrix with ridge"));
  EXPECT_THAT(refusal(at::ones({2, 2}), 0), HasSubstr("not positive definite; raise the ridge"));
  EXPECT_EQ(refusal(at::ones({2, 2}), 1e-6), "");
  EXPECT_THAT(refusal(at::full({2, 2}, NAN), 0), HasSubstr("trace nan"));
  EXPECT_THAT(refusal(at::eye(2), -1), HasSubstr("ridge fraction -1"));
  at::Tensor hidden = at::eye(3, at::kDouble);
  hidden[2][0] = NAN;
  EXPECT_THAT(refusal(hidden, 0), HasSubstr("7: cannot solve"));
}

TEST(Pca, FindsTheLineOfTheRows) {
  // Points 5 + t · (3, -4)/5 for t = -2..2: one component, all the variance.
  std::vector<at::Tensor> rows;
  for (int t = -2; t <= 2; ++t) rows.push_back(at::tensor({5 + 0.6 * t, 5 - 0.8 * t}, at::kDouble));
  const Pca found = pca(at::stack(rows), 2);
  EXPECT_NEAR(found.components_KD[0][0].item<double>(), -0.6, 1e-12);
  EXPECT_NEAR(found.components_KD[0][1].item<double>(), 0.8, 1e-12);  // the larger entry is positive
  EXPECT_NEAR(found.mean_D[0].item<double>(), 5, 1e-12);
  EXPECT_NEAR(found.share_K[0].item<double>(), 1, 1e-12);
}

TEST(Pca, UncentredKeepsTheMean) {
  const at::Tensor rows = at::tensor({2.0, 0.0, 4.0, 0.0}, at::kDouble).view({2, 2});
  EXPECT_NEAR(pca(rows, 1, false).components_KD[0][0].item<double>(), 1, 1e-12);
  EXPECT_THROW(pca(rows, 3), Error);
  EXPECT_THROW(pca(at::ones({3, 2}), 1), Error);
}

}  // namespace
}  // namespace suture::tensor
