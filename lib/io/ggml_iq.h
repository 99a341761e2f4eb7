// SPDX-License-Identifier: Apache-2.0
// Blocks of ggml's newer types to fp32: lattices (IQ), ternary (TQ), and 4-bit floats (MXFP4, NVFP4). Each function
// reads one block and writes its elements; the order of operations is that of the `gguf` Python package, as in
// ggml_types.h.
#pragma once
#include <cstddef>

namespace suture::io::ggml {

void iq1_s(const std::byte* block, float* out);
void iq1_m(const std::byte* block, float* out);
void iq2_xxs(const std::byte* block, float* out);
void iq2_xs(const std::byte* block, float* out);
void iq2_s(const std::byte* block, float* out);
void iq3_xxs(const std::byte* block, float* out);
void iq3_s(const std::byte* block, float* out);
void iq4_nl(const std::byte* block, float* out);
void iq4_xs(const std::byte* block, float* out);
void tq1_0(const std::byte* block, float* out);
void tq2_0(const std::byte* block, float* out);
void mxfp4(const std::byte* block, float* out);
void nvfp4(const std::byte* block, float* out);

}  // namespace suture::io::ggml
