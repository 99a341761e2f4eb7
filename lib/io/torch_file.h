// SPDX-License-Identifier: Apache-2.0
// PyTorch checkpoints (pytorch_model.bin) as torch.save writes them since version 1.6: a zip archive of data.pkl and
// one stored entry data/<key> for each storage. Reader only; nothing in the file is executed (torch_pickle.h).
//
// Everything is checked when the file is opened: entries against the file, storages against entries, shapes, strides
// and offsets against storages. A broken file is Error kFile, one that is not allowed or of another format
// (TorchScript, before 1.6, big endian) is Error kModel saying what to do. Opening costs the directory, the entries'
// headers and the pickle. Keys whose value is not a tensor are skipped with a warning.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "io/tensor_file.h"

namespace suture::io {

class TorchFile : public TensorFile, public std::enable_shared_from_this<TorchFile> {
 public:
  static std::shared_ptr<const TorchFile> open(const fs::path& path);

  at::Tensor tensor(const std::string& name) const override;
  // Of a tensor that is not in row-major order: a copy, kept until the file is closed.
  std::span<const std::byte> bytes(const std::string& name) const override;
  const std::string& first_alias(const std::string& name) const override;

 private:
  // Beside each TensorInfo, whose begin is the offset in the file.
  struct Layout {
    std::vector<int64_t> stride;
    bool row_major = true;
    size_t first_alias = 0;
  };

  explicit TorchFile(const fs::path& path) : TensorFile(path) {}
  void read_archive();
  void copy_row_major(size_t index, std::byte* out) const;

  std::vector<Layout> layouts_;
  mutable std::mutex copies_mutex_;
  mutable std::map<size_t, std::vector<std::byte>> copies_;
};

}  // namespace suture::io
