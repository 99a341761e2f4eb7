// SPDX-License-Identifier: Apache-2.0
// Linear algebra of the editors, in fp64 on the CPU: symmetric positive definite systems with a ridge, and PCA.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace suture::tensor {

// Factorisation of A + r·I with r = ridge_fraction · trace(A) / F, by Cholesky: F³/3 operations once, F² a right-hand
// side. Error kNumerics, naming the ridge, when that is not positive definite.
class SpdSolver {
 public:
  SpdSolver(const at::Tensor& a_FF, double ridge_fraction);
  at::Tensor solve(const at::Tensor& b) const;  // b [F] or [F, K], any float dtype -> fp64 of the same shape
  // Largest over smallest eigenvalue of the ridged matrix, by power and inverse iteration: never above the true ratio,
  // and within a few per cent of it. Costs about 100 products with A.
  double condition() const;
  double ridge() const { return ridge_; }

 private:
  at::Tensor matrix_FF_, factor_FF_;
  double ridge_ = 0;
};

struct SpdSolution {
  at::Tensor x;  // fp64, shape of b
  double condition = 0;
  double ridge = 0;
};
SpdSolution solve_spd(const at::Tensor& a_FF, const at::Tensor& b, double ridge_fraction);

struct Pca {
  at::Tensor components_KD;  // fp64, unit rows, by falling variance; the entry of largest magnitude is positive
  at::Tensor mean_D;         // fp64; zeros when not centred
  at::Tensor share_K;        // of the total variance
};
// Principal components of rows by SVD; k <= min(N, D). `centre` false keeps the mean in, as for paired differences.
Pca pca(const at::Tensor& rows_ND, int64_t k, bool centre = true);

}  // namespace suture::tensor
