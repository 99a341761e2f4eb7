// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <array>

namespace suture::tensor {
namespace {

struct Row {
  at::ScalarType dtype;
  std::string_view file, config, flag;  // flag is empty for dtypes nothing is computed in
};

constexpr std::array kRows = {
    Row{at::kFloat, "F32", "float32", "fp32"}, Row{at::kBFloat16, "BF16", "bfloat16", "bf16"},
    Row{at::kHalf, "F16", "float16", "fp16"},  Row{at::kDouble, "F64", "float64", "fp64"},
    Row{at::kBool, "BOOL", "bool", ""},        Row{at::kByte, "U8", "uint8", ""},
    Row{at::kChar, "I8", "int8", ""},          Row{at::kShort, "I16", "int16", ""},
    Row{at::kInt, "I32", "int32", ""},         Row{at::kLong, "I64", "int64", ""},
    Row{at::kUInt16, "U16", "uint16", ""},     Row{at::kUInt32, "U32", "uint32", ""},
    Row{at::kUInt64, "U64", "uint64", ""},     Row{at::kComplexFloat, "C64", "complex64", ""},
};

std::string accepted(std::string_view Row::*column, bool computed_only) {
  std::string list;
  for (const Row& row : kRows) {
    if ((row.*column).empty() || (computed_only && row.flag.empty())) continue;
    if (!list.empty()) list += ", ";
    list += row.*column;
  }
  return list;
}

const Row& row_of(at::ScalarType dtype) {
  for (const Row& row : kRows)
    if (row.dtype == dtype) return row;
  fail(Code::kBug, "cannot spell dtype {}: it is not in the dtype table", c10::toString(dtype));
}

}  // namespace

std::optional<at::ScalarType> find_file_dtype(std::string_view spelling) {
  for (const Row& row : kRows)
    if (row.file == spelling) return row.dtype;
  return std::nullopt;
}

at::ScalarType dtype_from_file(std::string_view spelling, Code code) {
  if (const auto dtype = find_file_dtype(spelling)) return *dtype;
  fail(code, "cannot use dtype '{}': expected one of {}", spelling, accepted(&Row::file, false));
}

std::string file_spelling(at::ScalarType dtype) { return std::string(row_of(dtype).file); }

at::ScalarType dtype_from_config(std::string_view spelling, Code code) {
  std::string_view bare = spelling;
  if (bare.starts_with("torch.")) bare.remove_prefix(6);
  for (const Row& row : kRows)
    if (row.config == bare) return row.dtype;
  fail(code, "cannot use dtype '{}': expected one of {}, with or without 'torch.'", spelling,
       accepted(&Row::config, true));
}

std::string config_spelling(at::ScalarType dtype) { return std::string(row_of(dtype).config); }

at::ScalarType dtype_from_flag(std::string_view spelling, Code code) {
  std::string_view bare = spelling;
  if (bare.starts_with("torch.")) bare.remove_prefix(6);
  for (const Row& row : kRows)
    if (!row.flag.empty() && (row.flag == spelling || row.config == bare)) return row.dtype;
  fail(code, "cannot compute in dtype '{}': expected one of {}, or {}", spelling, accepted(&Row::flag, true),
       accepted(&Row::config, true));
}

std::string flag_spelling(at::ScalarType dtype) {
  const Row& row = row_of(dtype);
  if (row.flag.empty()) fail(Code::kBug, "cannot compute in dtype {}", row.config);
  return std::string(row.flag);
}

}  // namespace suture::tensor
