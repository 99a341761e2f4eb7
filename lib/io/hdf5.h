// SPDX-License-Identifier: Apache-2.0
// HDF5 as values: groups, contiguous datasets of fp32, fp64, uint8 and int64, texts in UTF-8, and attributes.
//
// Every failure is Error kFile (reading) or kResource (writing) with the path inside and outside the file; the
// library's own messages are not printed but quoted. Not for use from several threads at once.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace suture::io {

// An open group of an open file. Copies share the handle.
class Hdf5Group {
 public:
  std::vector<std::string> names() const;  // of members, by name
  bool has(const std::string& name) const;
  Hdf5Group group(const std::string& name) const;
  Hdf5Group create_group(const std::string& name);

  void write(const std::string& name, const at::Tensor& tensor);  // fp32, fp64, uint8 or int64, made contiguous
  void write_bytes(const std::string& name, std::span<const std::byte> bytes);  // 1-D uint8
  void write_text(const std::string& name, const std::string& text);            // scalar dataset, any length, no NUL
  void write_json(const std::string& name, const Json& json) { write_text(name, json.dump()); }
  at::Tensor read(const std::string& name) const;
  std::vector<std::byte> read_bytes(const std::string& name) const;
  std::string read_text(const std::string& name) const;
  Json read_json(const std::string& name) const;

  void set_text(const std::string& attribute, const std::string& text);
  void set_integer(const std::string& attribute, int64_t value);
  void set_number(const std::string& attribute, double value);
  std::string text(const std::string& attribute) const;
  int64_t integer(const std::string& attribute) const;
  double number(const std::string& attribute) const;

  // Copies a member of another file or group, with all below it, without reading it into memory.
  void copy_from(const Hdf5Group& source, const std::string& name);

 private:
  friend class Hdf5File;
  struct Handle;
  Hdf5Group(std::shared_ptr<Handle> handle, std::string where) : handle_(std::move(handle)), where_(std::move(where)) {}
  std::string at(const std::string& name) const { return where_ + name; }  // for messages: FILE:/group/name

  std::shared_ptr<Handle> handle_;
  std::string where_;
};

class Hdf5File {
 public:
  static Hdf5Group open(const fs::path& path);  // read only; the file closes with the last group
  // Calls `fill` with the root of a new file, which appears under `path` whole or not at all.
  static void write(const fs::path& path, const std::function<void(Hdf5Group&)>& fill);
};

// Root attributes that every file of ours has: "schema" (text) and "version" (integer).
void write_schema(Hdf5Group& root, const std::string& schema, int64_t version);
// Error kData for another schema, or a version above `newest`; returns the version.
int64_t require_schema(const Hdf5Group& root, const fs::path& path, const std::string& schema, int64_t newest);

}  // namespace suture::io
