// SPDX-License-Identifier: Apache-2.0
// Files: read-only maps, and outputs that appear whole or not at all.
//
// AtomicFile and AtomicFolder write to a hidden sibling of the target, sync it, and rename on commit(). Without
// commit() the destructor removes what was written and the target is untouched.
#pragma once
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/error.h"

namespace suture {

namespace fs = std::filesystem;

// Whole file as text, without a UTF-8 byte order mark. Throws Error(code) with the path and the system's reason.
std::string read_text(const fs::path& path, Code code = Code::kData);

// Fails when `path` is absent; `what` says what it should have been ("model", "config", ...).
void require_exists(const fs::path& path, std::string_view what, Code code);

class MappedFile {
 public:
  explicit MappedFile(const fs::path& path, Code code = Code::kFile);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }
  // Gives the pages read so far back to the system; reading them again fetches them from the file.
  void forget_pages() const;

 private:
  fs::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class AtomicFile {
 public:
  explicit AtomicFile(fs::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void write(std::span<const std::byte> bytes);
  // Where the bytes go until commit(); for libraries that write by path. Call close() first, then reopen by path.
  const fs::path& temporary() const { return temporary_; }
  void close();
  void commit();

 private:
  fs::path target_, temporary_;
  std::FILE* file_ = nullptr;
  bool committed_ = false;
};

class AtomicFolder {
 public:
  // Refuses an existing target (Code::kUsage) unless `replace`; a replaced folder is moved aside and removed on commit.
  AtomicFolder(fs::path target, bool replace);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  const fs::path& path() const { return temporary_; }  // write here
  const fs::path& target() const { return target_; }
  void commit();

 private:
  fs::path target_, temporary_;
  bool replace_, committed_ = false;
};

// Writes `text` to `target` in one step.
void write_atomically(const fs::path& target, std::string_view text);

// Hard link where the file system allows it, else a copy. Never use it for a file that will be written in place.
void link_or_copy(const fs::path& from, const fs::path& to);

// Appends whole lines; flush() makes them survive a killed process.
class LineAppender {
 public:
  explicit LineAppender(const fs::path& path);
  ~LineAppender();
  LineAppender(const LineAppender&) = delete;
  LineAppender& operator=(const LineAppender&) = delete;
  void append(std::string_view line);  // `line` without newline; one write(2) call
  void sync();

 private:
  fs::path path_;
  int descriptor_ = -1;
};

}  // namespace suture
