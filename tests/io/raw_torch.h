// SPDX-License-Identifier: Apache-2.0
// Zip archives and pickles written byte by byte, so that each can be broken in one way.
#pragma once
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace suture::io {

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

struct RawEntry {
  std::string name, bytes;
  uint16_t method = 0, flags = 0;
};

// A zip archive of stored entries. With `wide`, sizes, offsets and the directory's place stand in ZIP64 fields only.
inline std::string raw_zip(const std::vector<RawEntry>& entries, bool wide = false) {
  std::string bytes, directory;
  const uint32_t in64 = 0xFFFFFFFF;
  for (const RawEntry& entry : entries) {
    const uint64_t local = bytes.size(), size = entry.bytes.size();
    std::string extra;
    if (wide) {
      put(extra, uint16_t(0x4242));  // another field before it
      put(extra, uint16_t(2));
      put(extra, uint16_t(0));
      put(extra, uint16_t(1));
      put(extra, uint16_t(24));
      for (const uint64_t value : {size, size, local}) put(extra, value);
    }
    put(bytes, uint32_t(0x04034b50));
    for (const uint16_t value : {uint16_t(20), entry.flags, entry.method, uint16_t(0), uint16_t(0)}) put(bytes, value);
    for (const uint32_t value : {uint32_t(0), uint32_t(size), uint32_t(size)}) put(bytes, value);
    put(bytes, uint16_t(entry.name.size()));
    put(bytes, uint16_t(4));
    bytes += entry.name + std::string("FB\0\0", 4) + entry.bytes;

    put(directory, uint32_t(0x02014b50));
    for (const uint16_t value : {uint16_t(20), uint16_t(20), entry.flags, entry.method, uint16_t(0), uint16_t(0)})
      put(directory, value);
    put(directory, uint32_t(0));
    for (int i = 0; i < 2; ++i) put(directory, wide ? in64 : uint32_t(size));
    put(directory, uint16_t(entry.name.size()));
    put(directory, uint16_t(extra.size()));
    for (int i = 0; i < 3; ++i) put(directory, uint16_t(0));
    put(directory, uint32_t(0));
    put(directory, wide ? in64 : uint32_t(local));
    directory += entry.name + extra;
  }
  const uint64_t begin = bytes.size(), n = entries.size();
  bytes += directory;
  if (wide) {
    const uint64_t record = bytes.size();
    put(bytes, uint32_t(0x06064b50));
    put(bytes, uint64_t(44));
    put(bytes, uint32_t(0x002D002D));
    put(bytes, uint64_t(0));
    for (const uint64_t value : {n, n, uint64_t(directory.size()), begin}) put(bytes, value);
    put(bytes, uint32_t(0x07064b50));
    put(bytes, uint32_t(0));
    put(bytes, record);
    put(bytes, uint32_t(1));
  }
  put(bytes, uint32_t(0x06054b50));
  put(bytes, uint32_t(0));
  for (int i = 0; i < 2; ++i) put(bytes, wide ? uint16_t(0xFFFF) : uint16_t(n));
  put(bytes, wide ? in64 : uint32_t(directory.size()));
  put(bytes, wide ? in64 : uint32_t(begin));
  put(bytes, uint16_t(0));
  return bytes;
}

// Opcodes of pickle, protocol 2.
namespace pickle {

inline std::string text(std::string_view value) {
  std::string bytes = "X";
  put(bytes, uint32_t(value.size()));
  return bytes.append(value);
}
inline std::string integer(int64_t value) {
  std::string bytes = "\x8a\x08";
  put(bytes, value);
  return bytes;
}
inline std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple(const std::vector<int64_t>& numbers) {
  std::string bytes = "(";
  for (const int64_t number : numbers) bytes += integer(number);
  return bytes + "t";
}
inline std::string storage(std::string_view type, std::string_view key, int64_t elements) {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + integer(elements) + "tQ";
}
inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                          const std::vector<int64_t>& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + integer(offset) + tuple(shape) + tuple(stride) +
         "\x89" + "NtR";
}
// {name: value}, the value being given as opcodes.
inline std::string dictionary(const std::string& name, const std::string& value) {
  return "\x80\x02}" + text(name) + value + "s.";
}

}  // namespace pickle
}  // namespace suture::io
