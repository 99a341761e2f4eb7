// SPDX-License-Identifier: Apache-2.0
// Weights stored as 8-bit floats with a scale beside them (F8_E4M3 and F8_E5M2 in safetensors; weight_scale_inv of
// DeepSeek and Qwen, weight_scale of compressed-tensors, both of which are multiplied).
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "io/tensor_file.h"

namespace suture::io {

bool is_fp8(const std::string& dtype);  // F8_E4M3 or F8_E5M2, the file spelling

// A view on the map, like TensorFile::tensor, of dtype Float8_e4m3fn or Float8_e5m2; kBug for another dtype. Apart from
// tensor() on purpose: its numbers mean nothing without the scale.
at::Tensor fp8_tensor(const std::shared_ptr<const TensorFile>& file, const std::string& name);

struct Fp8Block {
  int64_t rows = 128, columns = 128;
};

// weight * scale, computed in fp32 and rounded once to `result` (kBFloat16, kFloat or kHalf). `weight` is [..., O, I].
// `scale`, fp32, bf16 or fp16, is one number; or [..., 1, 1], one for each matrix; or [O] or [..., O, 1], one for each
// row; or [..., ceil(O/rows), ceil(I/columns)], one for each block. Error kModel naming `name` and both shapes when it
// is none of these. Memory: the result and one strip of rows.
at::Tensor dequantise_fp8(const std::string& name, const at::Tensor& weight, const at::Tensor& scale,
                          Fp8Block block = {}, at::ScalarType result = at::kBFloat16);

}  // namespace suture::io
