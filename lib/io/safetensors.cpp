// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "tensor/dtype.h"

namespace suture::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are read as they lie in memory");

constexpr uint64_t kHeaderLimit = 100'000'000;  // the format's own bound
constexpr std::string_view kPointerStart = "version https://git-lfs";

struct BitsOf {
  std::string_view dtype;
  int64_t bits;
};
constexpr std::array kBits = {
    BitsOf{"F32", 32},    BitsOf{"BF16", 16},       BitsOf{"F16", 16},        BitsOf{"F64", 64},
    BitsOf{"BOOL", 8},    BitsOf{"U8", 8},          BitsOf{"I8", 8},          BitsOf{"I16", 16},
    BitsOf{"U16", 16},    BitsOf{"I32", 32},        BitsOf{"U32", 32},        BitsOf{"I64", 64},
    BitsOf{"U64", 64},    BitsOf{"C64", 64},        BitsOf{"F8_E5M2", 8},     BitsOf{"F8_E4M3", 8},
    BitsOf{"F8_E8M0", 8}, BitsOf{"F8_E4M3FNUZ", 8}, BitsOf{"F8_E5M2FNUZ", 8}, BitsOf{"F4", 4},
    BitsOf{"F6_E2M3", 6}, BitsOf{"F6_E3M2", 6},
};

std::string known_dtypes() {
  std::string list;
  for (const BitsOf& row : kBits) list.append(list.empty() ? "" : ", ").append(row.dtype);
  return list;
}

// Bytes that dtype and shape need; nothing when the product overflows or does not fill whole bytes.
std::optional<uint64_t> bytes_needed(const std::vector<int64_t>& shape, int64_t bits) {
  uint64_t total = uint64_t(bits);
  bool zero = false;
  for (const int64_t size : shape) {
    if (size == 0)
      zero = true;
    else if (__builtin_mul_overflow(total, uint64_t(size), &total))
      return std::nullopt;
  }
  if (total > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
  if (zero) return 0;
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

[[noreturn]] void broken(const fs::path& path, const std::string& why) {
  fail(Code::kFile, "cannot read {}: {}", path.string(), why);
}

[[noreturn]] void broken(const fs::path& path, const std::string& tensor, const std::string& why) {
  fail(Code::kFile, "cannot read {}: tensor '{}': {}", path.string(), tensor, why);
}

uint64_t unsigned_number(const fs::path& path, const std::string& name, const Json& value, const char* what) {
  // Not the contents of an array: printing one takes stack for each level of nesting.
  if (value.is_structured())
    broken(path, name, fmt::format("{} holds an {}: expected whole numbers from 0 to 2^63-1", what, value.type_name()));
  if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()))
    broken(path, name, fmt::format("{} holds {}: expected whole numbers from 0 to 2^63-1", what, value.dump()));
  return value.get<uint64_t>();
}

const Json& field(const fs::path& path, const std::string& name, const Json& entry, const char* key) {
  if (!entry.is_object() || !entry.contains(key)) broken(path, name, fmt::format("its entry has no '{}'", key));
  return entry[key];
}

TensorInfo parse_entry(const fs::path& path, const std::string& name, const Json& entry) {
  TensorInfo info;
  info.name = name;
  const Json& dtype = field(path, name, entry, "dtype");
  if (!dtype.is_string()) broken(path, name, "dtype is not a string");
  info.dtype = dtype.get<std::string>();
  const int64_t bits = safetensors_bits(info.dtype);
  if (bits == 0) broken(path, name, fmt::format("unknown dtype '{}': expected one of {}", info.dtype, known_dtypes()));
  const Json& shape = field(path, name, entry, "shape");
  if (!shape.is_array()) broken(path, name, "shape is not an array");
  for (const Json& size : shape) info.shape.push_back(int64_t(unsigned_number(path, name, size, "shape")));
  const Json& offsets = field(path, name, entry, "data_offsets");
  if (!offsets.is_array() || offsets.size() != 2) broken(path, name, "data_offsets is not a pair");
  info.begin = unsigned_number(path, name, offsets[0], "data_offsets");
  info.end = unsigned_number(path, name, offsets[1], "data_offsets");
  if (info.begin > info.end)
    broken(path, name, fmt::format("data_offsets [{}, {}] run backwards", info.begin, info.end));
  const auto needed = bytes_needed(info.shape, bits);
  if (!needed)
    broken(path, name, fmt::format("shape {} of {} overflows or leaves part of a byte", shape.dump(), info.dtype));
  if (*needed != info.size())
    broken(path, name,
           fmt::format("shape {} of {} needs {} bytes, data_offsets [{}, {}] hold {}", shape.dump(), info.dtype,
                       *needed, info.begin, info.end, info.size()));
  return info;
}

std::map<std::string, std::string> parse_metadata(const fs::path& path, const Json& entry) {
  if (!entry.is_object()) broken(path, "__metadata__ is not an object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) broken(path, fmt::format("__metadata__ key '{}' is not a string", key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// `tensors` sorted by begin: each must start where the one before ended, and the last must end with the file.
void check_cover(const fs::path& path, const std::vector<TensorInfo>& tensors, uint64_t data_size) {
  uint64_t at = 0;
  for (const TensorInfo& info : tensors) {
    if (info.begin > at)
      broken(path, info.name, fmt::format("hole of {} bytes before offset {}", info.begin - at, info.begin));
    if (info.begin < at)
      broken(path, info.name, fmt::format("offset {} overlaps the tensor before it, which ends at {}", info.begin, at));
    at = info.end;
  }
  if (at > data_size) broken(path, fmt::format("truncated: header says {} bytes of data, file has {}", at, data_size));
  if (at < data_size)
    broken(path, fmt::format("file not fully covered: {} bytes after the last tensor, at data offset {}",
                             data_size - at, at));
}

std::string header_text(const std::vector<NamedBytes>& tensors, const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  header["__metadata__"] = metadata;
  uint64_t at = 0;
  // Json is an ordered map with linear look-up, so entries are appended unchecked; names were checked by the caller.
  auto& entries = header.get_ref<Json::object_t&>();
  for (const NamedBytes& tensor : tensors) {
    const uint64_t size = *bytes_needed(tensor.shape, safetensors_bits(tensor.dtype));
    Json entry;
    entry["dtype"] = tensor.dtype;
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {at, at + size};
    entries.push_back({tensor.name, std::move(entry)});
    at += size;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void check_writable(const fs::path& path, const std::vector<NamedBytes>& tensors) {
  std::set<std::string> names;
  for (const NamedBytes& tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      fail(Code::kBug, "cannot write {}: tensor '{}' twice, or a reserved name", path.string(), tensor.name);
    const int64_t bits = safetensors_bits(tensor.dtype);
    if (bits == 0 || !bytes_needed(tensor.shape, bits))
      fail(Code::kBug, "cannot write {}: tensor '{}' has dtype '{}' and a shape that do not fit", path.string(),
           tensor.name, tensor.dtype);
  }
}

// Finds bytes that the disk or the page cache changed; not a digest.
class Checksum {
 public:
  void update(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t take = std::min(bytes.size(), kBlock - filled_);
      if (filled_ == 0 && take == kBlock) {
        mix(bytes.data());
      } else {
        std::memcpy(block_.data() + filled_, bytes.data(), take);
        filled_ = (filled_ + take) % kBlock;
        if (filled_ == 0) mix(block_.data());
      }
      count_ += take;
      bytes = bytes.subspan(take);
    }
  }
  uint64_t value() {
    std::fill(block_.begin() + long(filled_), block_.end(), std::byte{0});
    mix(block_.data());
    return std::accumulate(lanes_.begin(), lanes_.end(), count_,
                           [](uint64_t sum, uint64_t lane) { return (std::rotl(sum, 23) ^ lane) * kFactor; });
  }

 private:
  static constexpr size_t kBlock = 32;
  static constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
  void mix(const std::byte* block) {
    std::array<uint64_t, 4> words;
    std::memcpy(words.data(), block, kBlock);
    for (size_t i = 0; i < 4; ++i) lanes_[i] = std::rotl((lanes_[i] ^ words[i]) * kFactor, 29);
  }
  std::array<uint64_t, 4> lanes_{1, 2, 3, 4};
  std::array<std::byte, kBlock> block_{};
  size_t filled_ = 0;
  uint64_t count_ = 0;
};

void verify_written(const fs::path& temporary, const fs::path& path, const std::vector<NamedBytes>& tensors,
                    const std::vector<uint64_t>& sums, const std::map<std::string, std::string>& metadata) {
  const auto file = SafetensorsFile::open(temporary);
  if (file->tensors().size() != tensors.size() || file->metadata() != metadata)
    fail(Code::kResource, "cannot write {}: what was read back has another header", path.string());
  for (size_t i = 0; i < tensors.size(); ++i) {
    Checksum sum;
    sum.update(file->bytes(tensors[i].name));
    if (sum.value() != sums[i])
      fail(Code::kResource, "cannot write {}: tensor '{}' was read back with other bytes; check the disk",
           path.string(), tensors[i].name);
  }
}

}  // namespace

int64_t safetensors_bits(const std::string& dtype) {
  for (const BitsOf& row : kBits)
    if (row.dtype == dtype) return row.bits;
  return 0;
}

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const fs::path& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile(path));
  file->read_header();
  return file;
}

void SafetensorsFile::read_header() {
  const auto all = map_.bytes();
  const std::string_view text(reinterpret_cast<const char*>(all.data()), all.size());
  if (text.starts_with(kPointerStart)) broken(path(), "it is a Git LFS pointer, not the file: run git lfs pull");
  uint64_t length = 0;
  if (all.size() < sizeof length)
    broken(path(), fmt::format("truncated: header needs 8 bytes, file has {}", all.size()));
  std::memcpy(&length, all.data(), sizeof length);
  if (length > kHeaderLimit) broken(path(), fmt::format("header too large: {} bytes (limit {})", length, kHeaderLimit));
  if (length > all.size() - sizeof length)
    broken(path(), fmt::format("truncated: header says {} bytes, file has {}", length + sizeof length, all.size()));
  const std::string_view header = text.substr(sizeof length, length);
  if (!header.starts_with('{')) broken(path(), "not a safetensors file: its header does not start with '{'");
  const Json entries = parse_json(header, path().string(), Code::kFile);
  std::vector<TensorInfo> found;
  for (const auto& [name, entry] : entries.items()) {
    if (name == "__metadata__")
      metadata_ = parse_metadata(path(), entry);
    else
      found.push_back(parse_entry(path(), name, entry));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  data_start_ = sizeof length + length;
  check_cover(path(), found, all.size() - data_start_);
  for (TensorInfo& info : found) add(std::move(info));
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string& name) const {
  const TensorInfo& found = info(name);
  return map_.bytes().subspan(data_start_ + found.begin, found.size());
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorInfo& found = info(name);
  const at::ScalarType dtype = dtype_of(found);
  const auto raw = bytes(name);
  if (reinterpret_cast<uintptr_t>(raw.data()) % c10::elementSize(dtype) != 0) {
    at::Tensor copy = at::empty(found.shape, dtype);
    if (!raw.empty()) std::memcpy(copy.data_ptr(), raw.data(), raw.size());
    return copy;
  }
  return at::from_blob(
      const_cast<std::byte*>(raw.data()), found.shape, [keep = shared_from_this()](void*) {}, at::TensorOptions(dtype));
}

std::span<const std::byte> tensor_bytes(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu())
    fail(Code::kBug, "cannot take the bytes of a tensor that is not contiguous or not on the CPU");
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

NamedBytes named_bytes(std::string name, at::Tensor tensor) {
  std::string dtype = tensor::file_spelling(tensor.scalar_type());
  std::vector<int64_t> shape = tensor.sizes().vec();
  return {std::move(name), std::move(dtype), std::move(shape), [tensor = std::move(tensor)](const ByteSink& sink) {
            sink(tensor_bytes(tensor.detach().cpu().contiguous()));
          }};
}

NamedBytes named_bytes(const TensorInfo& info, std::span<const std::byte> bytes) {
  return {info.name, info.dtype, info.shape, [bytes](const ByteSink& sink) { sink(bytes); }};
}

void write_safetensors(const fs::path& path, const std::vector<NamedBytes>& tensors,
                       std::map<std::string, std::string> metadata) {
  check_writable(path, tensors);
  metadata.emplace("format", "pt");
  const std::string header = header_text(tensors, metadata);
  if (header.size() > kHeaderLimit)
    fail(Code::kResource, "cannot write {}: header of {} bytes is too large (limit {})", path.string(), header.size(),
         kHeaderLimit);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  std::vector<uint64_t> sums;
  for (const NamedBytes& tensor : tensors) {
    Checksum sum;
    uint64_t written = 0;
    tensor.produce([&](std::span<const std::byte> bytes) {
      file.write(bytes);
      sum.update(bytes);
      written += bytes.size();
    });
    if (written != *bytes_needed(tensor.shape, safetensors_bits(tensor.dtype)))
      fail(Code::kBug, "cannot write {}: tensor '{}' gave {} bytes, not what its shape says", path.string(),
           tensor.name, written);
    sums.push_back(sum.value());
  }
  file.close();
  verify_written(file.temporary(), path, tensors, sums, metadata);
  file.commit();
}

}  // namespace suture::io
