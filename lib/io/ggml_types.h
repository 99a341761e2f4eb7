// SPDX-License-Identifier: Apache-2.0
// ggml's tensor types: block sizes, and conversion of a block to fp32 in the order of operations that makes the result
// equal to the `gguf` Python package bit for bit (no fused multiply-add: the build keeps -ffp-contract=off, GCC's
// default for ISO C++).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace suture::io {

struct GgmlType {
  uint32_t id;
  std::string_view name;
  int64_t elements;  // of one block; 1 for plain types
  int64_t bytes;     // of one block
  // Writes `elements` floats. Null for plain types (no conversion needed) and for quantisations that are not supported.
  void (*to_float)(const std::byte* block, float* out);
};

const GgmlType* find_ggml_type(uint32_t id);

}  // namespace suture::io
