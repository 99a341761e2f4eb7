// SPDX-License-Identifier: Apache-2.0
// Spellings of dtypes: safetensors ("BF16"), config.json ("bfloat16", "torch.bfloat16"), command line ("bf16").
// Errors list what is accepted.
#pragma once
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace suture::tensor {

// File spelling. The one of a dtype that no operator covers here (F8_E4M3, F4, ...) gives nothing.
std::optional<at::ScalarType> find_file_dtype(std::string_view spelling);
at::ScalarType dtype_from_file(std::string_view spelling, Code code = Code::kModel);
std::string file_spelling(at::ScalarType dtype);  // F32 -> "F32"; kBug for a dtype the format has no name for

// config.json spelling, with or without "torch.".
at::ScalarType dtype_from_config(std::string_view spelling, Code code = Code::kModel);
std::string config_spelling(at::ScalarType dtype);  // "bfloat16"

// Command line and YAML: fp32, bf16, fp16, fp64, and the config spellings. Compute dtypes only.
at::ScalarType dtype_from_flag(std::string_view spelling, Code code = Code::kUsage);
std::string flag_spelling(at::ScalarType dtype);  // "bf16"

}  // namespace suture::tensor
