// SPDX-License-Identifier: Apache-2.0
// The weights of a Hugging Face folder: read them, rewrite what changed, write a new one.
//
// Either model.safetensors, or shards listed by model.safetensors.index.json, whose weight_map is followed whatever the
// shards are called; only when neither is there, pytorch_model.bin or pytorch_model.bin.index.json in the same way
// (torch_file.h). Sub-folders are never scanned. All files are opened and checked at once; that costs their headers.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/file.h"
#include "io/safetensors.h"

namespace suture::io {

class TensorFolder {
 public:
  // Error kFile: shards missing (all listed), index and shards disagree, unsafe paths in the index, broken shards.
  // Error kModel: no weights, or a pytorch_model.bin that asks for more than tensors.
  static TensorFolder open(const fs::path& folder);

  std::vector<std::string> names() const;  // shard by shard, in file order
  bool has(const std::string& name) const { return home_.contains(name); }
  const TensorInfo& info(const std::string& name) const { return file(name).info(name); }
  at::Tensor tensor(const std::string& name) const { return file(name).tensor(name); }  // view on the map, read only
  std::span<const std::byte> bytes(const std::string& name) const { return file(name).bytes(name); }
  const fs::path& file_of(const std::string& name) const { return file(name).path(); }
  uint64_t total_bytes() const;  // of tensor data; what several names share counts once
  bool sharded() const { return sharded_; }
  bool pickled() const { return pickled_; }  // read from pytorch_model.bin
  const fs::path& path() const { return folder_; }
  const std::vector<std::shared_ptr<const TensorFile>>& shards() const { return shards_; }  // by file name

 private:
  void add_shard(const std::string& shard, const std::map<std::string, std::string>& weight_map);
  const TensorFile& file(const std::string& name) const;

  fs::path folder_;
  bool sharded_ = false, pickled_ = false;
  std::vector<std::shared_ptr<const TensorFile>> shards_;
  std::unordered_map<std::string, size_t> home_;  // name -> index into shards_
};

struct FolderChange {
  std::map<std::string, at::Tensor> tensors;  // changed (dtype and shape of the file, the caller casts) or added
  std::set<std::string> removed;
  std::map<std::string, std::string> files;  // text files replaced or added, by plain file name
  std::set<std::string> left_out;            // other files that are not copied, by plain file name
};

// Writes `source` with the change into `destination`, an existing empty folder (an AtomicFolder's temporary).
// Shards without a change are hard-linked, or copied across file systems; a shard with one keeps its tensor order and
// metadata; added tensors go to the end of the last shard; a shard left without tensors is dropped; the index is
// rewritten only when names changed. Other files are copied verbatim, sub-folders are not. When a tensor changed,
// weights in other formats (*.bin, *.gguf, consolidated.safetensors, ...) would contradict the new ones: they are left
// out with a warning.
// A pickled source is written as one model.safetensors, in any case; what several names share (a tied head) is written
// under the first unless config.json says tie_word_embeddings false or one of the names changed.
// Verified after writing: names as intended, unchanged tensors byte-identical.
void rewrite_folder(const fs::path& source, const FolderChange& change, const fs::path& destination);

// A tensor to be made when its turn comes; `produce` must give dtype and shape as said.
struct LazyTensor {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> produce;
};

// A new folder: one model.safetensors, or shards of at most `shard_bytes` (a larger tensor has its own) with an index.
// One tensor is held at a time. `files` are written beside.
void write_folder(const std::vector<LazyTensor>& tensors, const std::map<std::string, std::string>& files,
                  const fs::path& destination, uint64_t shard_bytes = 5'000'000'000);

// The same for producers that say nothing in advance: each is called twice, first only for dtype and shape.
void write_folder(const std::vector<std::pair<std::string, std::function<at::Tensor()>>>& tensors,
                  const std::map<std::string, std::string>& files, const fs::path& destination,
                  uint64_t shard_bytes = 5'000'000'000);

}  // namespace suture::io
