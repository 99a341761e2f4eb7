// SPDX-License-Identifier: Apache-2.0
// Shape checks by letters: `weight 'x': expected [D=576, F=1536], got [1536, 576]`.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace suture::tensor {

constexpr int64_t kAnySize = -1;

struct Dim {
  std::string letter;
  int64_t size = kAnySize;
};

// "[3, 4]"
std::string shape_text(at::IntArrayRef sizes);

// Throws Error(code) that starts with `what` unless the tensor has exactly these dimensions. A letter that comes twice
// without a size must have one size.
void require_shape(const at::Tensor& tensor, const std::vector<Dim>& dims, const std::string& what,
                   Code code = Code::kModel);

}  // namespace suture::tensor
