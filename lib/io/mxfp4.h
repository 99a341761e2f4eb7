// SPDX-License-Identifier: Apache-2.0
// Expert weights of gpt-oss as safetensors hold them: 4-bit floats (OCP Microscaling formats 1.0, MXFP4), two in a
// byte, 32 with one exponent.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace suture::io {

// `blocks` U8 [E, O, G, 16] (element 2i of a group in the low nibble of byte i, element 2i+1 in the high one), `scales`
// U8 [E, O, G] (2^(scale - 127)) to bf16 [E, 32·G, O]: transposed, the layout in which gpt-oss multiplies, and equal to
// what transformers makes. Exact: bf16 holds every product below 2^128, and what is above becomes infinite. Error
// kModel naming `name` for other shapes or dtypes. Memory: the result.
at::Tensor dequantise_mxfp4(const std::string& name, const at::Tensor& blocks, const at::Tensor& scales);

}  // namespace suture::io
