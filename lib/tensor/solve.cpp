// SPDX-License-Identifier: Apache-2.0
#include "tensor/solve.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/dot.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "tensor/shape.h"

namespace suture::tensor {
namespace {

constexpr int kMostIterations = 200;
constexpr double kSettled = 1e-4;  // relative change of the Rayleigh quotient at which iteration stops

// Largest eigenvalue of a symmetric positive definite map, from below.
template <class Map>
double largest_eigenvalue(int64_t width, Map map) {
  Stream stream(0, "eigenvalue start");
  at::Tensor v = at::empty({width}, at::kDouble);
  for (int64_t i = 0; i < width; ++i) v.data_ptr<double>()[i] = stream.uniform() - 0.5;
  double value = 0;
  for (int i = 0; i < kMostIterations; ++i) {
    v = v / v.norm();
    const at::Tensor next = map(v);
    const double quotient = at::dot(v, next).item<double>();
    const bool settled = std::abs(quotient - value) <= kSettled * quotient;
    value = quotient;
    v = next;
    if (settled) break;
  }
  return value;
}

}  // namespace

SpdSolver::SpdSolver(const at::Tensor& a_FF, double ridge_fraction) {
  require_shape(a_FF, {{"F"}, {"F"}}, "matrix to solve with", Code::kBug);
  const int64_t width = a_FF.size(0);
  matrix_FF_ = a_FF.detach().to(at::kCPU, at::kDouble).clone();
  const double trace = matrix_FF_.diagonal().sum().item<double>();
  if (!std::isfinite(trace) || !std::isfinite(ridge_fraction) || ridge_fraction < 0)
    fail(Code::kNumerics, "cannot solve: trace {} and ridge fraction {} must be finite, the latter not negative", trace,
         ridge_fraction);
  ridge_ = ridge_fraction * trace / double(width);
  matrix_FF_.diagonal().add_(ridge_);
  const auto [factor_FF, info] = at::linalg_cholesky_ex(matrix_FF_);
  factor_FF_ = factor_FF;
  // The factor's last pivot is NaN where the matrix holds NaN, which the routine itself lets pass.
  if (info.item<int64_t>() != 0 || !std::isfinite(factor_FF_.diagonal().sum().item<double>()))
    fail(Code::kNumerics,
         "cannot solve: the {}x{} matrix with ridge {:.3g} ({:.3g} of its mean diagonal) is not positive definite; "
         "raise the "
         "ridge or collect more tokens",
         width, width, ridge_, ridge_fraction);
}

at::Tensor SpdSolver::solve(const at::Tensor& b) const {
  const bool one = b.dim() == 1;
  const at::Tensor b_FK = one ? b.unsqueeze(1) : b;
  require_shape(b_FK, {{"F", matrix_FF_.size(0)}, {"K"}}, "right-hand side", Code::kBug);
  const at::Tensor x_FK = at::cholesky_solve(b_FK.detach().to(at::kCPU, at::kDouble), factor_FF_);
  return one ? x_FK.squeeze(1) : x_FK;
}

double SpdSolver::condition() const {
  const int64_t width = matrix_FF_.size(0);
  const double largest = largest_eigenvalue(width, [&](const at::Tensor& v) { return at::mv(matrix_FF_, v); });
  const double inverse_of_smallest = largest_eigenvalue(width, [&](const at::Tensor& v) { return solve(v); });
  return largest * inverse_of_smallest;
}

SpdSolution solve_spd(const at::Tensor& a_FF, const at::Tensor& b, double ridge_fraction) {
  const SpdSolver solver(a_FF, ridge_fraction);
  return {solver.solve(b), solver.condition(), solver.ridge()};
}

Pca pca(const at::Tensor& rows_ND, int64_t k, bool centre) {
  require_shape(rows_ND, {{"N"}, {"D"}}, "rows of a PCA", Code::kBug);
  const at::Tensor rows = rows_ND.detach().to(at::kCPU, at::kDouble);
  if (k < 1 || k > std::min(rows.size(0), rows.size(1)))
    fail(Code::kNumerics, "cannot take {} principal components of {} rows of width {}", k, rows.size(0), rows.size(1));
  Pca result;
  const at::Tensor mean_1D = rows.mean(at::IntArrayRef{0}, /*keepdim=*/true);
  result.mean_D = centre ? mean_1D.squeeze(0) : at::zeros_like(mean_1D).squeeze(0);
  const auto [u, s_K, v_KD] = at::linalg_svd(rows - result.mean_D, /*full_matrices=*/false);
  const double total = s_K.square().sum().item<double>();
  if (!std::isfinite(total) || total <= 0)
    fail(Code::kNumerics, "cannot take principal components: the rows {}",
         total == 0 ? "are all equal" : "hold NaN or infinity");
  const at::Tensor top_KD = v_KD.narrow(0, 0, k);
  const at::Tensor peak_K1 = top_KD.gather(1, at::argmax(at::abs(top_KD), 1, /*keepdim=*/true));
  result.components_KD = top_KD * at::sign(peak_K1);
  result.share_K = s_K.narrow(0, 0, k).square() / total;
  return result;
}

}  // namespace suture::tensor
