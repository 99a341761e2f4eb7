// SPDX-License-Identifier: Apache-2.0
#include "tensor/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/error.h"
#include "tensor/shape.h"

namespace suture::tensor {

constexpr int64_t kChunkRows = 1024;

SecondMoment::SecondMoment(int64_t width) : sum_FF_(at::zeros({width, width}, at::kDouble)) {}

SecondMoment::SecondMoment(at::Tensor sum_FF, int64_t count) : sum_FF_(std::move(sum_FF)), count_(count) {
  require_shape(sum_FF_, {{"F"}, {"F"}}, "second moment", Code::kData);
  if (sum_FF_.scalar_type() != at::kDouble || count < 0)
    fail(Code::kData, "cannot use a second moment of {} over {} rows: expected Double over 0 or more",
         c10::toString(sum_FF_.scalar_type()), count);
}

void SecondMoment::add(const at::Tensor& k_NF) {
  require_shape(k_NF, {{"N"}, {"F", width()}}, "rows of a second moment", Code::kBug);
  for (int64_t start = 0; start < k_NF.size(0); start += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, k_NF.size(0) - start);
    const at::Tensor chunk_NF = k_NF.narrow(0, start, rows).detach().to(at::kCPU, at::kFloat);
    const at::Tensor product_FF = at::mm(chunk_NF.t(), chunk_NF);
    if (!std::isfinite(product_FF.diagonal().sum().item<float>()))
      fail(Code::kNumerics,
           "cannot accumulate a second moment: rows {}..{} hold NaN, infinity or values whose squares overflow", count_,
           count_ + rows - 1);
    sum_FF_.add_(product_FF);
    count_ += rows;
  }
}

void SecondMoment::merge(const SecondMoment& other) {
  if (other.width() != width())
    fail(Code::kBug, "cannot merge second moments of widths {} and {}", width(), other.width());
  sum_FF_.add_(other.sum_FF_);
  count_ += other.count_;
}

at::Tensor SecondMoment::mean_FF() const {
  if (count_ == 0) fail(Code::kNumerics, "cannot take the mean of a second moment: no row was added");
  return (sum_FF_ + sum_FF_.t()).mul_(0.5 / double(count_));
}

}  // namespace suture::tensor
