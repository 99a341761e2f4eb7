// SPDX-License-Identifier: Apache-2.0
// What an edit changed, and what was there before, in one HDF5 file (FORMATS.md, schema "suture.delta").
//
// W + ΔW − ΔW is not W in bf16, so undoing needs the original bytes: they are kept, with their digests.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace suture::io {

struct LowRankFactor {
  std::string weight;            // logical name
  at::Tensor left_OR, right_IR;  // fp32 or fp64; ΔW = left · rightᵀ in [out, in]
  Json record = Json::object();
};

struct OriginalTensor {
  std::string name, dtype;  // of the file's tensor, safetensors spelling
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;             // before the edit
  std::string sha256_before, sha256_after;  // lower-case hexadecimal
};

struct DeltaFile {
  Json record = Json::object();
  std::vector<LowRankFactor> factors;
  std::vector<OriginalTensor> originals;
  std::map<std::string, std::string> original_files;  // text files that changed, as they were
};

// Both check shapes, dtypes, the number of bytes and sha256_before against them: Error kBug when writing, kFile when
// reading.
void write_delta_file(const fs::path& path, const DeltaFile& delta);
DeltaFile read_delta_file(const fs::path& path);

}  // namespace suture::io
