// SPDX-License-Identifier: Apache-2.0
// Uncentred second moment E[k kᵀ] of a stream of rows k: the C of ROME (Meng et al. 2022, eq. 2 and appendix E.1).
//
// Each chunk of rows is one fp32 matrix product, added to an fp64 sum; 1,024 rows a chunk keep the fp32 part of the
// error below that of bf16 activations by far. Memory: F² doubles and F² floats.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace suture::tensor {

class SecondMoment {
 public:
  explicit SecondMoment(int64_t width);
  SecondMoment(at::Tensor sum_FF, int64_t count);  // of stored state; fp64, square

  void add(const at::Tensor& k_NF);       // any float dtype; Error kNumerics for NaN or infinity
  void merge(const SecondMoment& other);  // Error kBug for another width
  int64_t width() const { return sum_FF_.size(0); }
  int64_t count() const { return count_; }
  const at::Tensor& sum_FF() const { return sum_FF_; }  // fp64, what is stored
  at::Tensor mean_FF() const;  // fp64, exactly symmetric; Error kNumerics when nothing was added

 private:
  at::Tensor sum_FF_;
  int64_t count_ = 0;
};

}  // namespace suture::tensor
