// SPDX-License-Identifier: Apache-2.0
#include "tensor/shape.h"

#include <map>

namespace suture::tensor {
namespace {

std::string expected_text(const std::vector<Dim>& dims) {
  std::string text = "[";
  for (const Dim& dim : dims) {
    if (text.size() > 1) text += ", ";
    text += dim.size == kAnySize ? dim.letter : fmt::format("{}={}", dim.letter, dim.size);
  }
  return text + "]";
}

bool fits(const at::Tensor& tensor, const std::vector<Dim>& dims) {
  if (tensor.dim() != int64_t(dims.size())) return false;
  std::map<std::string, int64_t> sizes;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t size = tensor.size(int64_t(i));
    if (dims[i].size != kAnySize && dims[i].size != size) return false;
    if (sizes.emplace(dims[i].letter, size).first->second != size) return false;
  }
  return true;
}

}  // namespace

std::string shape_text(at::IntArrayRef sizes) {
  std::string text = "[";
  for (const int64_t size : sizes) text += fmt::format("{}{}", text.size() > 1 ? ", " : "", size);
  return text + "]";
}

void require_shape(const at::Tensor& tensor, const std::vector<Dim>& dims, const std::string& what, Code code) {
  if (!tensor.defined()) fail(code, "{}: expected {}, got nothing", what, expected_text(dims));
  if (!fits(tensor, dims)) fail(code, "{}: expected {}, got {}", what, expected_text(dims), shape_text(tensor.sizes()));
}

}  // namespace suture::tensor
