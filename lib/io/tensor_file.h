// SPDX-License-Identifier: Apache-2.0
// What the readers of checkpoint files have in common: a table of named tensors on a read-only map.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/file.h"

namespace suture::io {

struct TensorInfo {
  std::string name;
  std::string dtype;  // safetensors' spelling: "F32", "BF16", ...
  std::vector<int64_t> shape;
  // Bytes, relative to the file's data section. Of a tensor that does not lie in row-major order only the first byte
  // and the size are meant.
  uint64_t begin = 0, end = 0;
  uint64_t size() const { return end - begin; }
};

class TensorFile {
 public:
  virtual ~TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in file order
  std::vector<std::string> names() const;
  const TensorInfo* find(const std::string& name) const;
  const TensorInfo& info(const std::string& name) const;  // kModel when absent
  // A view on the map that keeps it alive: read only, writing faults. A tensor not aligned to its element, or not in
  // row-major order, is copied. A dtype LibTorch's operators do not cover (F8 and smaller) is Error kModel naming it;
  // bytes() still gives it.
  virtual at::Tensor tensor(const std::string& name) const = 0;
  virtual std::span<const std::byte> bytes(const std::string& name) const = 0;  // row-major
  // The first name of this file that has the same bytes because it is the same tensor; `name` itself when it is alone.
  virtual const std::string& first_alias(const std::string& name) const { return info(name).name; }
  virtual const std::map<std::string, std::string>& metadata() const;
  const fs::path& path() const { return map_.path(); }
  void forget_pages() const { map_.forget_pages(); }

 protected:
  explicit TensorFile(const fs::path& path) : map_(path) {}
  void add(TensorInfo info);  // the caller checks that names are unique
  at::ScalarType dtype_of(const TensorInfo& info) const;

  MappedFile map_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
};

// Bits of one element, 0 for an unknown dtype name.
int64_t safetensors_bits(const std::string& dtype);

}  // namespace suture::io
