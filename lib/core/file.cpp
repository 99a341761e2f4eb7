// SPDX-License-Identifier: Apache-2.0
#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace suture {
namespace {

std::string reason() { return std::strerror(errno); }

void sync_path(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) return;  // a folder on a file system without sync: nothing more can be done
  ::fsync(descriptor);
  ::close(descriptor);
}

fs::path sibling(const fs::path& target, std::string_view tag) {
  const fs::path whole = fs::absolute(target).lexically_normal();
  const fs::path clean = whole.filename().empty() ? whole.parent_path() : whole;
  return clean.parent_path() / fmt::format(".{}.{}.{}", clean.filename().string(), tag, ::getpid());
}

fs::path without_slash(fs::path path) { return path.filename().empty() ? path.parent_path() : path; }

void make_parent(const fs::path& target) {
  const fs::path parent = fs::absolute(target).parent_path();
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) fail(Code::kResource, "cannot create folder {}: {}", parent.string(), error.message());
}

}  // namespace

std::string read_text(const fs::path& path, Code code) {
  if (fs::is_directory(path)) fail(code, "cannot read {}: it is a folder", path.string());
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail(code, "cannot read {}: {}", path.string(), reason());
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, file)) text.append(buffer, n);
  const bool bad = std::ferror(file) != 0;
  std::fclose(file);
  if (bad) fail(code, "cannot read {}: {}", path.string(), reason());
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  return text;
}

void require_exists(const fs::path& path, std::string_view what, Code code) {
  if (!fs::exists(path)) fail(code, "cannot find {} {}: no such file or folder", what, path.string());
}

MappedFile::MappedFile(const fs::path& path, Code code) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) fail(code, "cannot read {}: {}", path.string(), reason());
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(descriptor);
    fail(code, "cannot read {}: not a regular file", path.string());
  }
  size_ = size_t(info.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    ::close(descriptor);
    if (mapped == MAP_FAILED) fail(Code::kResource, "cannot map {}: {}", path.string(), reason());
    data_ = static_cast<const std::byte*>(mapped);
  } else {
    ::close(descriptor);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::forget_pages() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), temporary_(sibling(target_, "part")) {
  make_parent(target_);
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (file_ == nullptr) fail(Code::kResource, "cannot write {}: {}", target_.string(), reason());
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) std::fclose(file_);
  std::error_code ignored;
  if (!committed_) fs::remove(temporary_, ignored);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
    fail(Code::kResource, "cannot write {}: {}", target_.string(), reason());
}

void AtomicFile::close() {
  if (file_ == nullptr) return;
  const bool bad = std::fclose(file_) != 0;
  file_ = nullptr;
  if (bad) fail(Code::kResource, "cannot write {}: {}", target_.string(), reason());
}

void AtomicFile::commit() {
  close();
  sync_path(temporary_);
  std::error_code error;
  fs::rename(temporary_, target_, error);
  if (error) fail(Code::kResource, "cannot write {}: {}", target_.string(), error.message());
  committed_ = true;
  sync_path(fs::absolute(target_).parent_path());
}

AtomicFolder::AtomicFolder(fs::path target, bool replace)
    : target_(without_slash(std::move(target))), temporary_(sibling(target_, "part")), replace_(replace) {
  if (fs::exists(target_) && !replace_)
    fail(Code::kUsage, "cannot write {}: it exists; choose another --out or pass --force", target_.string());
  make_parent(target_);
  std::error_code error;
  fs::remove_all(temporary_, error);
  fs::create_directory(temporary_, error);
  if (error) fail(Code::kResource, "cannot write {}: {}", target_.string(), error.message());
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) sync_path(entry.path());
  sync_path(temporary_);
  std::error_code error;
  const fs::path aside = sibling(target_, "old");
  if (replace_ && fs::exists(target_)) fs::rename(target_, aside, error);
  if (!error) fs::rename(temporary_, target_, error);
  if (error) fail(Code::kResource, "cannot write {}: {}", target_.string(), error.message());
  committed_ = true;
  std::error_code ignored;
  fs::remove_all(aside, ignored);
  sync_path(fs::absolute(target_).parent_path());
}

void write_atomically(const fs::path& target, std::string_view text) {
  AtomicFile file(target);
  file.write(text);
  file.commit();
}

void link_or_copy(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_hard_link(fs::canonical(from), to, error);
  if (!error) return;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) fail(Code::kResource, "cannot copy {} to {}: {}", from.string(), to.string(), error.message());
}

LineAppender::LineAppender(const fs::path& path) : path_(path) {
  make_parent(path);
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (descriptor_ < 0) fail(Code::kResource, "cannot write {}: {}", path.string(), reason());
}

LineAppender::~LineAppender() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LineAppender::append(std::string_view line) {
  std::string whole(line);
  whole += '\n';
  for (size_t done = 0; done < whole.size();) {
    const ssize_t n = ::write(descriptor_, whole.data() + done, whole.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(Code::kResource, "cannot write {}: {}", path_.string(), reason());
    done += size_t(n);
  }
}

void LineAppender::sync() { ::fdatasync(descriptor_); }

}  // namespace suture
