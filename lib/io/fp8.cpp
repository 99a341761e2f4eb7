// SPDX-License-Identifier: Apache-2.0
#include "io/fp8.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/json.h"

namespace suture::io {
namespace {

constexpr int64_t kStrip = 128;  // rows that are in memory as fp32 at a time, when blocks are not larger

at::ScalarType fp8_dtype(const std::string& dtype) {
  if (dtype == "F8_E4M3") return at::kFloat8_e4m3fn;
  if (dtype == "F8_E5M2") return at::kFloat8_e5m2;
  fail(Code::kBug, "cannot read dtype {} as an 8-bit float", dtype);
}

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The scale as [B, R, C] fp32, and how many rows and columns of the weight each of its numbers stands for.
struct Scales {
  at::Tensor value;
  Fp8Block block;
};

Scales arrange(const std::string& name, const at::Tensor& weight, const at::Tensor& scale, Fp8Block block) {
  const at::Tensor numbers = scale.to(at::kFloat);
  const auto shape = weight.sizes();
  const int64_t rows = shape[shape.size() - 2], columns = shape.back();
  const int64_t batches = std::accumulate(shape.begin(), shape.end() - 2, int64_t{1}, std::multiplies<>());
  const auto ends_in = [&](int64_t r, int64_t c) {
    auto wanted = shape.vec();
    wanted[wanted.size() - 2] = r;
    wanted.back() = c;
    return scale.sizes() == at::IntArrayRef(wanted);
  };
  const int64_t block_rows = ceil_divide(rows, block.rows), block_columns = ceil_divide(columns, block.columns);
  if (scale.numel() == 1 || ends_in(1, 1))
    return {numbers.reshape({-1, 1, 1}).expand({batches, 1, 1}),
            {std::max<int64_t>(rows, 1), std::max<int64_t>(columns, 1)}};
  if (ends_in(rows, 1) || (shape.size() == 2 && scale.dim() == 1 && scale.size(0) == rows))
    return {numbers.reshape({batches, rows, 1}), {1, std::max<int64_t>(columns, 1)}};
  if (ends_in(block_rows, block_columns)) return {numbers.reshape({batches, block_rows, block_columns}), block};
  fail(Code::kModel,
       "cannot dequantise '{}' of shape {}: a scale of shape {} is neither one number, nor one for each row, "
       "nor one for each block of {} x {}",
       name, Json(shape.vec()).dump(), Json(scale.sizes().vec()).dump(), block.rows, block.columns);
}

}  // namespace

bool is_fp8(const std::string& dtype) { return dtype == "F8_E4M3" || dtype == "F8_E5M2"; }

at::Tensor fp8_tensor(const std::shared_ptr<const TensorFile>& file, const std::string& name) {
  const TensorInfo& info = file->info(name);
  return at::from_blob(
      const_cast<std::byte*>(file->bytes(name).data()), info.shape, [file](void*) {},
      at::TensorOptions(fp8_dtype(info.dtype)));
}

at::Tensor dequantise_fp8(const std::string& name, const at::Tensor& weight, const at::Tensor& scale, Fp8Block block,
                          at::ScalarType result) {
  if (weight.dim() < 2 || block.rows < 1 || block.columns < 1)
    fail(Code::kModel,
         "cannot dequantise '{}': expected a matrix and a block of at least 1 x 1, got shape {} and {} x {}", name,
         Json(weight.sizes().vec()).dump(), block.rows, block.columns);
  const auto [scales, size] = arrange(name, weight, scale, block);
  const int64_t rows = weight.size(-2), columns = weight.size(-1);
  at::Tensor values = at::empty(weight.sizes(), at::TensorOptions(result));
  if (values.numel() == 0) return values;
  const at::Tensor from = weight.reshape({-1, rows, columns});
  at::Tensor to = values.view({-1, rows, columns});
  const int64_t step = std::max<int64_t>(size.rows, kStrip) / size.rows * size.rows;
  for (int64_t batch = 0; batch < from.size(0); ++batch)
    for (int64_t at = 0; at < rows; at += step) {
      const int64_t end = std::min(rows, at + step);
      const at::Tensor factor = scales[batch]
                                    .slice(0, at / size.rows, ceil_divide(end, size.rows))
                                    .repeat_interleave(size.rows, 0)
                                    .slice(0, 0, end - at)
                                    .repeat_interleave(size.columns, 1)
                                    .slice(1, 0, columns);
      to[batch].slice(0, at, end).copy_(from[batch].slice(0, at, end).to(at::kFloat).mul_(factor));
    }
  return values;
}

}  // namespace suture::io
