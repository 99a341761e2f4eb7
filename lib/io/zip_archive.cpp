// SPDX-License-Identifier: Apache-2.0
#include "io/zip_archive.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_set>

#include "core/error.h"

namespace suture::io {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kLocator64 = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr uint64_t kLongestComment = 0xFFFF;
constexpr uint16_t kExtra64 = 1, kEncrypted = 1;
constexpr uint32_t kIn64 = 0xFFFFFFFF;  // a 32-bit field that says: look in the ZIP64 record

struct Directory {
  uint64_t begin = 0, size = 0, entries = 0;
};

class Zip {
 public:
  explicit Zip(const MappedFile& map) : map_(map) {}

  std::vector<ZipEntry> list() const {
    const Directory directory = find_directory();
    std::vector<ZipEntry> entries;
    std::unordered_set<std::string> names;
    uint64_t at = directory.begin;
    const uint64_t end = directory.begin + directory.size;
    for (uint64_t i = 0; i < directory.entries; ++i) {
      if (end - at < kCentralBytes) broken(fmt::format("its directory ends before entry {}", i));
      entries.push_back(entry(at, end));
      if (!names.insert(entries.back().name).second) broken(fmt::format("duplicate entry '{}'", entries.back().name));
      at += kCentralBytes + number<uint16_t>(at + 28) + number<uint16_t>(at + 30) + number<uint16_t>(at + 32);
    }
    return entries;
  }

 private:
  [[noreturn]] void broken(const std::string& why) const {
    fail(Code::kFile, "cannot read {}: {}", map_.path().string(), why);
  }
  uint64_t size() const { return map_.bytes().size(); }

  template <class T>
  T number(uint64_t at) const {
    if (at > size() || size() - at < sizeof(T))
      broken(fmt::format("truncated: a record at offset {} leaves the file", at));
    T value;
    std::memcpy(&value, map_.bytes().data() + at, sizeof value);
    return value;
  }

  std::string text(uint64_t at, uint64_t length) const {
    if (at > size() || size() - at < length) broken(fmt::format("truncated: a name at offset {} leaves the file", at));
    return {reinterpret_cast<const char*>(map_.bytes().data() + at), length};
  }

  uint64_t find_end() const {
    if (size() >= kEndBytes) {
      const uint64_t last = size() - kEndBytes, first = last > kLongestComment ? last - kLongestComment : 0;
      for (uint64_t at = last + 1; at-- > first;)
        if (number<uint32_t>(at) == kEnd && at + kEndBytes + number<uint16_t>(at + 20) == size()) return at;
    }
    broken("truncated: it has no zip directory at its end");
  }

  Directory find_directory() const {
    const uint64_t end = find_end();
    Directory directory{number<uint32_t>(end + 16), number<uint32_t>(end + 12), number<uint16_t>(end + 10)};
    if (end >= kLocator64Bytes && number<uint32_t>(end - kLocator64Bytes) == kLocator64) {
      const auto at = number<uint64_t>(end - kLocator64Bytes + 8);
      if (at > size() || size() - at < kEnd64Bytes || number<uint32_t>(at) != kEnd64)
        broken(fmt::format("its ZIP64 record at offset {} is broken", at));
      directory = {number<uint64_t>(at + 48), number<uint64_t>(at + 40), number<uint64_t>(at + 32)};
    }
    if (directory.begin > end || directory.size > end - directory.begin)
      broken(fmt::format("its directory of {} bytes at offset {} leaves the file", directory.size, directory.begin));
    if (directory.entries > directory.size / kCentralBytes)
      broken(fmt::format("its directory says {} entries, its {} bytes hold {} at most", directory.entries,
                         directory.size, directory.size / kCentralBytes));
    return directory;
  }

  // Fields that are kIn64 stand in the ZIP64 extra field, in the order size, stored size, offset.
  void widen(uint64_t extra, uint64_t extra_end, std::initializer_list<uint64_t*> fields) const {
    const bool wanted =
        std::any_of(fields.begin(), fields.end(), [](const uint64_t* field) { return *field == kIn64; });
    while (wanted && extra_end - extra >= 4) {
      const uint64_t end = extra + 4 + number<uint16_t>(extra + 2);
      if (end > extra_end) broken(fmt::format("an extra field at offset {} leaves its entry", extra));
      if (number<uint16_t>(extra) != kExtra64) {
        extra = end;
        continue;
      }
      uint64_t at = extra + 4;
      for (uint64_t* field : fields) {
        if (*field != kIn64) continue;
        if (end - at < sizeof(uint64_t)) broken(fmt::format("a ZIP64 field at offset {} is too short", extra));
        *field = number<uint64_t>(at);
        at += sizeof(uint64_t);
      }
      return;
    }
  }

  ZipEntry entry(uint64_t at, uint64_t directory_end) const {
    if (number<uint32_t>(at) != kCentral) broken(fmt::format("no directory entry at offset {}", at));
    const uint64_t name_length = number<uint16_t>(at + 28), extra = at + kCentralBytes + name_length;
    const uint64_t extra_end = extra + number<uint16_t>(at + 30);
    if (extra_end + number<uint16_t>(at + 32) > directory_end)
      broken(fmt::format("the directory entry at offset {} leaves the directory", at));
    const std::string name = text(at + kCentralBytes, name_length);
    uint64_t stored = number<uint32_t>(at + 20), plain = number<uint32_t>(at + 24), local = number<uint32_t>(at + 42);
    widen(extra, extra_end, {&plain, &stored, &local});
    if ((number<uint16_t>(at + 8) & kEncrypted) != 0 || number<uint16_t>(at + 10) != 0 || stored != plain)
      fail(Code::kModel, "cannot read {}: entry '{}' is compressed or encrypted; save it again with torch.save",
           map_.path().string(), name);
    if (number<uint32_t>(local) != kLocal) broken(fmt::format("entry '{}' is not at offset {}", name, local));
    const uint64_t local_name = number<uint16_t>(local + 26);
    if (text(local + kLocalBytes, local_name) != name)
      broken(fmt::format("entry '{}' has another name at offset {}", name, local));
    const uint64_t begin = local + kLocalBytes + local_name + number<uint16_t>(local + 28);
    if (begin > size() || size() - begin < plain)
      broken(fmt::format("truncated: entry '{}' of {} bytes at offset {} leaves the file", name, plain, begin));
    return {name, begin, begin + plain};
  }

  const MappedFile& map_;
};

}  // namespace

std::vector<ZipEntry> list_stored_zip(const MappedFile& map) { return Zip(map).list(); }

}  // namespace suture::io
