// SPDX-License-Identifier: Apache-2.0
// A checkpoint on disk: an HF folder or a GGUF file, seen through one interface with HF names and HF layouts.
//
// Opening reads headers only. Tensors are views on the mapped file (GGUF: dequantised when asked for). Every tensor of
// the file is accounted for: a missing or an unused one is an error that names it.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "model/config.h"
#include "text/assets.h"

namespace suture::model {

// A logical weight: what edits and bakes are about. "layers.8.mlp.down", "layers.8.mlp.experts.3.down" or "embed".
struct WeightId {
  Part part;
  int64_t layer = 0;
  int64_t expert = 0;
  auto operator<=>(const WeightId&) const = default;
  std::string text() const;
  static WeightId parse(std::string_view text);  // Error(kData)
};

class Checkpoint {
 public:
  static Checkpoint open(const fs::path& path);  // folder or .gguf
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  const fs::path& path() const;
  bool is_gguf() const;
  bool is_packed() const;  // a folder with FP8 or MXFP4 weights, seen and written as bf16
  const ModelConfig& config() const;
  const FamilySpec& family() const { return *config().family; }
  const Json& config_json() const;  // as an HF config.json
  const text::TextAssets& text() const;
  std::vector<int32_t> stop_ids()
      const;  // token ids of config.json and generation_config.json; the text's own not included

  std::vector<std::string> tensor_names() const;          // HF names, in file order
  at::Tensor tensor(const std::string& name) const;       // HF layout; read-only
  std::string dtype_name(const std::string& name) const;  // as the file spells it: "BF16", "Q4_1"
  std::vector<int64_t> shape(const std::string& name) const;
  uint64_t bytes() const;             // of all weights in the file
  std::string dtypes() const;         // "211 tensors: F32 61, Q4_1 120"
  at::ScalarType main_dtype() const;  // of most weights; fp32 for quantised ones

  bool has(WeightId id) const;
  std::string tensor_name(WeightId id) const;  // the file's tensor that holds it; kModel when absent
  at::Tensor weight(WeightId id) const;        // logical view: [out, in] or [out]
  std::vector<int64_t> weight_shape(WeightId id) const;
  // Writes a logical weight into `file_tensor`, a copy of the file's tensor that holds it.
  void put_weight(const at::Tensor& file_tensor, WeightId id, const at::Tensor& value) const;

  // SHA-256 over the weight files and config.json. Reads everything once; cached.
  const std::string& digest() const;
  // Text files of an HF folder for this model (config.json, tokenizer, template, ...), for GGUF rebuilt.
  std::map<std::string, std::string> text_files() const;
  // Tensors are views on mapped files: this gives the memory of what was read back to the system.
  void forget_pages() const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What a new checkpoint holds that the old one does not.
struct Changes {
  std::map<std::string, at::Tensor> tensors;  // file tensors by HF name: changed, or added
  std::map<std::string, std::string> files;   // text files replaced or added
};

// Writes `source` with `changes` as an HF folder into the existing, empty folder `destination`. From a folder, shards
// without a change are linked or copied; from GGUF every tensor is written in `dtype` (fp32 keeps it exact), from
// packed weights in bf16, or `dtype` when given.
void write_checkpoint(const Checkpoint& source, const Changes& changes, const fs::path& destination,
                      std::optional<at::ScalarType> dtype = std::nullopt);

}  // namespace suture::model
