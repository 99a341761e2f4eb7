// SPDX-License-Identifier: Apache-2.0
// Named vectors with where they belong and what made them, in one HDF5 file (FORMATS.md, schema "suture.vectors").
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace suture::io {

struct StoredVector {
  std::string name;    // not empty, without '/'
  at::Tensor value_D;  // fp32
  std::string site;    // as lib/hook spells it
  int64_t layer = 0;   // 0-based
  double scale = 1;    // recommended multiplier
  std::string where;   // text of hook::Where
  std::string method;
  std::string source_dtype;  // of the activations it was made from, config.json spelling
  Json attributes = Json::object();
};

struct VectorStore {
  Json provenance = Json::object();  // model digest, data digests, tool version, config, seed
  std::vector<StoredVector> vectors;
  std::map<std::string, at::Tensor> tables;  // fp32, fp64, uint8 or int64: head_scores_LH, mean_heads_LHd, ...

  const StoredVector& vector(const std::string& name) const;  // Error kData lists the names
};

// Error kNumerics for NaN or infinity, kBug for a wrong shape, dtype or name.
void write_vector_store(const fs::path& path, const VectorStore& store);
// Error kData: other schema or version, wrong shapes, vectors of one site that differ in width, NaN or infinity.
VectorStore read_vector_store(const fs::path& path);

}  // namespace suture::io
