// SPDX-License-Identifier: Apache-2.0
// The safetensors format: reader on a read-only map, and writer.
//
// Layout: u64 little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets}}, then the data, which
// the tensors must cover exactly. Everything is checked when the file is opened, before anything is allocated from its
// numbers; a broken file is Error kFile naming file and tensor. Opening costs the header; tensors cost nothing until
// touched.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "io/tensor_file.h"

namespace suture::io {

class SafetensorsFile : public TensorFile, public std::enable_shared_from_this<SafetensorsFile> {
 public:
  static std::shared_ptr<const SafetensorsFile> open(const fs::path& path);

  at::Tensor tensor(const std::string& name) const override;
  std::span<const std::byte> bytes(const std::string& name) const override;
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

 private:
  explicit SafetensorsFile(const fs::path& path) : TensorFile(path) {}
  void read_header();

  uint64_t data_start_ = 0;
  std::map<std::string, std::string> metadata_;
};

using ByteSink = std::function<void(std::span<const std::byte>)>;

// One tensor to write. `produce` is called once, when its turn comes, and hands its bytes over in one or more calls of
// the sink; so nothing has to outlive the call. Their number must be what shape and dtype say.
struct NamedBytes {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::function<void(const ByteSink&)> produce;
};

// Of a tensor: contiguous row-major bytes, made when their turn comes, so that one copy at most is alive.
NamedBytes named_bytes(std::string name, at::Tensor tensor);
// Of bytes that outlive the write.
NamedBytes named_bytes(const TensorInfo& info, std::span<const std::byte> bytes);

// Writes in the given order, streaming; "format": "pt" is set unless `metadata` has a format. The header is padded to 8
// bytes with spaces. The file appears whole or not at all, after it was re-read and compared with what was written.
void write_safetensors(const fs::path& path, const std::vector<NamedBytes>& tensors,
                       std::map<std::string, std::string> metadata = {});

// Bytes of a contiguous CPU tensor. The span is valid as long as the tensor is.
std::span<const std::byte> tensor_bytes(const at::Tensor& tensor);

}  // namespace suture::io
