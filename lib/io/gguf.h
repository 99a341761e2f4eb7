// SPDX-License-Identifier: Apache-2.0
// The GGUF format (versions 2 and 3, little endian): reader on a read-only map, with dequantisation to fp32.
//
// A file that llama-gguf-split made (NAME-00001-of-00003.gguf) is opened as a whole, whichever part is named: values
// are those of the first part, tensors those of all parts.
//
// Everything is checked when the file is opened: counts against the file's size before anything is allocated,
// alignment, offsets in range and not overlapping, duplicate names. A broken file is Error kFile naming file, tensor
// and offset. Dequantised numbers equal those of the `gguf` Python package bit for bit.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/file.h"

namespace suture::io {

class GgufFile : public std::enable_shared_from_this<GgufFile> {
 public:
  struct Info {
    std::string name;
    std::string type;             // ggml's spelling: "F32", "Q4_1", "Q6_K", ...
    std::vector<int64_t> shape;   // row-major: ggml's ne reversed, so a linear weight is [out, in]
    uint64_t begin = 0, end = 0;  // bytes, relative to the data section of its part
    uint32_t type_id = 0;
    size_t part = 0;  // index into paths()
  };

  // Error kFile, naming all of them, when parts of a split file are missing.
  static std::shared_ptr<const GgufFile> open(const fs::path& path);

  // Values by key. A missing key, or one of another kind, is Error kModel naming both.
  bool has(const std::string& key) const { return values_.contains(key); }
  std::string text(const std::string& key) const;
  int64_t integer(const std::string& key) const;  // any integer type, as long as the value fits
  double number(const std::string& key) const;    // any integer or float type
  bool flag(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  std::vector<float> numbers(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key) const;
  // The same with a default for a missing key; a present key of another kind still fails.
  std::string text_or(const std::string& key, std::string otherwise) const;
  int64_t integer_or(const std::string& key, int64_t otherwise) const;
  double number_or(const std::string& key, double otherwise) const;
  bool flag_or(const std::string& key, bool otherwise) const;
  std::vector<std::string> texts_or(const std::string& key, std::vector<std::string> otherwise) const;
  std::vector<float> numbers_or(const std::string& key, std::vector<float> otherwise) const;
  std::vector<int64_t> integers_or(const std::string& key, std::vector<int64_t> otherwise) const;
  std::vector<std::string> keys() const;        // in file order
  bool is_array(const std::string& key) const;  // false for a missing key

  const std::vector<Info>& tensors() const { return tensors_; }  // in the order of the files' tables
  const Info* find(const std::string& name) const;
  const Info& info(const std::string& name) const;  // kModel when absent
  // F32, F16, BF16 and plain integers: a read-only view on the map that keeps it alive. Quantised: a new fp32 tensor.
  at::Tensor tensor(const std::string& name) const;
  std::span<const std::byte> bytes(const std::string& name) const;
  uint32_t version() const { return version_; }
  const fs::path& path() const { return parts_.front()->path(); }  // of the first part
  std::vector<fs::path> paths() const;                             // of all parts
  void forget_pages() const;

  using Scalar = std::variant<bool, int64_t, uint64_t, double, std::string>;
  using Array = std::variant<std::vector<bool>, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
  using Value = std::variant<Scalar, Array>;

 private:
  class Reader;
  struct Header;
  GgufFile() = default;
  static Header read_header(const MappedFile& map);
  void add_part(std::unique_ptr<MappedFile> map, Header header);
  const Value& value(const std::string& key) const;

  std::vector<std::unique_ptr<MappedFile>> parts_;
  std::vector<uint64_t> data_starts_;  // one for each part
  uint32_t version_ = 0;
  std::vector<std::string> order_;
  std::unordered_map<std::string, Value> values_;
  std::vector<Info> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace suture::io
