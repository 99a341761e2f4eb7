// SPDX-License-Identifier: Apache-2.0
#include "io/torch_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "io/torch_pickle.h"
#include "io/zip_archive.h"

namespace suture::io {
namespace {

using Entries = std::unordered_map<std::string, ZipEntry>;

// The pickled number that files of PyTorch before 1.6 start with.
constexpr std::string_view kOldStart("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
constexpr std::string_view kPointerStart = "version https://git-lfs";
constexpr std::string_view kZipStart("PK\x03\x04", 4);
constexpr size_t kTarMagicAt = 257;

[[noreturn]] void broken(const fs::path& path, const std::string& name, const std::string& why) {
  fail(Code::kFile, "cannot read {}: tensor '{}': {}", path.string(), printable(name), why);
}

void check_start(const MappedFile& map) {
  const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  const std::string path = map.path().string();
  if (text.starts_with(kPointerStart))
    fail(Code::kFile, "cannot read {}: it is a Git LFS pointer, not the file: run git lfs pull", path);
  if (text.starts_with(kOldStart) || (text.size() > kTarMagicAt && text.substr(kTarMagicAt).starts_with("ustar")))
    fail(Code::kModel,
         "cannot read {}: it is in the format of PyTorch before 1.6; load it with torch.load(weights_only=True) and "
         "save "
         "it again, or convert it to safetensors",
         path);
  if (!text.starts_with(kZipStart))
    fail(Code::kFile, "cannot read {}: it is not a PyTorch checkpoint: it does not start as a zip archive", path);
}

// Entries by their name below the archive's one folder.
Entries read_entries(const MappedFile& map) {
  Entries entries;
  std::string folder;
  for (ZipEntry& entry : list_stored_zip(map)) {
    const size_t slash = entry.name.find('/');
    if (folder.empty() && slash != std::string::npos) folder = entry.name.substr(0, slash + 1);
    if (!folder.empty() && entry.name.starts_with(folder)) entries[entry.name.substr(folder.size())] = entry;
  }
  if (entries.contains("constants.pkl"))
    fail(Code::kModel, "cannot read {}: it is a TorchScript archive, which holds code; save its state_dict",
         map.path().string());
  if (!entries.contains("data.pkl"))
    fail(Code::kFile, "cannot read {}: it is a zip archive without data.pkl, not a PyTorch checkpoint",
         map.path().string());
  return entries;
}

std::span<const std::byte> bytes_of(const MappedFile& map, const ZipEntry& entry) {
  return map.bytes().subspan(entry.begin, entry.end - entry.begin);
}

void check_byte_order(const MappedFile& map, const Entries& entries) {
  const auto found = entries.find("byteorder");
  if (found == entries.end()) return;
  const auto bytes = bytes_of(map, found->second);
  if (std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()) != "little")
    fail(Code::kModel, "cannot read {}: its byte order is not little endian; save it again on another machine",
         map.path().string());
}

bool is_row_major(const std::vector<int64_t>& shape, const std::vector<int64_t>& stride) {
  if (std::ranges::find(shape, 0) != shape.end()) return true;
  int64_t next = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && stride[i] != next) return false;
    next *= shape[i];
  }
  return true;
}

// Elements, and the index in the storage of the last one; checked against the storage.
struct Extent {
  int64_t elements = 1, last = 0;
};

Extent extent_of(const fs::path& path, const PickledTensor& tensor, int64_t available) {
  const auto& [shape, stride] = std::tie(tensor.shape, tensor.stride);
  const auto shown = [&] { return fmt::format("shape {} with strides {}", Json(shape).dump(), Json(stride).dump()); };
  if (shape.size() != stride.size() || tensor.offset < 0 || std::ranges::any_of(shape, [](auto n) { return n < 0; }) ||
      std::ranges::any_of(stride, [](auto n) { return n < 0; }))
    broken(path, tensor.name, fmt::format("{} and offset {} do not fit together", shown(), tensor.offset));
  Extent extent{1, tensor.offset};
  const bool none = std::ranges::find(shape, 0) != shape.end();
  bool fits = true;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t size = std::max<int64_t>(shape[i], 1);
    int64_t reach = 0;
    fits = fits && !__builtin_mul_overflow(extent.elements, size, &extent.elements) &&
           !__builtin_mul_overflow(size - 1, none ? 0 : stride[i], &reach) &&
           !__builtin_add_overflow(extent.last, reach, &extent.last);
  }
  // Bytes, too, must be countable.
  fits = fits && extent.elements <= std::numeric_limits<int64_t>::max() / 16;
  if (fits && none) return {0, 0};
  if (!fits || extent.last >= available)
    broken(path, tensor.name,
           fmt::format("{} at offset {} leaves its storage of {} elements", shown(), tensor.offset, available));
  // Not more than are there: a stride of 0 would make any number of elements out of one.
  if (extent.elements > available)
    broken(path, tensor.name, fmt::format("{} repeats elements of its storage of {}", shown(), available));
  return extent;
}

// The storage's entry, after its size was compared with what the pickle says.
const ZipEntry& storage_of(const fs::path& path, const PickledTensor& tensor, const Entries& entries) {
  const auto found = entries.find("data/" + tensor.storage);
  if (found == entries.end())
    broken(path, tensor.name, fmt::format("its storage 'data/{}' is not in the archive", printable(tensor.storage)));
  const uint64_t element = uint64_t(safetensors_bits(tensor.storage_dtype)) / 8;
  const uint64_t size = found->second.end - found->second.begin;
  if (tensor.storage_elements < 0 || uint64_t(tensor.storage_elements) > size / element)
    broken(path, tensor.name,
           fmt::format("its storage of {} {} needs more than the {} bytes of its entry", tensor.storage_elements,
                       tensor.storage_dtype, size));
  return found->second;
}

// Names end up in JSON, which takes UTF-8 only.
void check_name(const fs::path& path, const std::string& name) {
  try {
    Json(name).dump();
  } catch (const Json::type_error&) {
    broken(path, name, "its name is not UTF-8");
  }
}

TensorInfo place(const fs::path& path, const PickledTensor& tensor, const Entries& entries) {
  const ZipEntry& entry = storage_of(path, tensor, entries);
  const int64_t storage_bytes = tensor.storage_elements * (safetensors_bits(tensor.storage_dtype) / 8);
  const int64_t element = safetensors_bits(tensor.dtype) / 8;
  const Extent extent = extent_of(path, tensor, storage_bytes / element);
  const uint64_t begin = entry.begin + (extent.elements == 0 ? 0 : uint64_t(tensor.offset * element));
  return {tensor.name, tensor.dtype, tensor.shape, begin, begin + uint64_t(extent.elements * element)};
}

}  // namespace

std::shared_ptr<const TorchFile> TorchFile::open(const fs::path& path) {
  std::shared_ptr<TorchFile> file(new TorchFile(path));
  file->read_archive();
  return file;
}

void TorchFile::read_archive() {
  check_start(map_);
  const Entries entries = read_entries(map_);
  check_byte_order(map_, entries);
  const PickledTensors pickled = read_torch_pickle(bytes_of(map_, entries.at("data.pkl")), path());
  if (!pickled.others.empty())
    spdlog::warn("skipped {} keys of {} that are not tensors, among them '{}'", pickled.others.size(), path().string(),
                 pickled.others.front());
  if (pickled.tensors.empty() && !pickled.others.empty())
    fail(Code::kModel, "cannot read {}: none of its keys ('{}', ...) is a tensor; save the state_dict itself",
         path().string(), pickled.others.front());
  using Place = std::tuple<uint64_t, std::string, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Place, size_t> first;
  for (const PickledTensor& tensor : pickled.tensors) {
    const size_t index = tensors_.size();
    check_name(path(), tensor.name);
    add(place(path(), tensor, entries));
    Layout layout{tensor.stride, is_row_major(tensor.shape, tensor.stride), index};
    if (tensors_.back().size() > 0)
      layout.first_alias =
          first.try_emplace({tensors_.back().begin, tensor.dtype, tensor.shape, tensor.stride}, index).first->second;
    layouts_.push_back(std::move(layout));
  }
}

const std::string& TorchFile::first_alias(const std::string& name) const {
  info(name);
  return tensors_[layouts_[by_name_.at(name)].first_alias].name;
}

// Runs of the last dimension that lie together are copied at once. Offsets are unsigned: the stride of a dimension of 1
// was not checked, and adding and subtracting it must cancel whatever it is.
void TorchFile::copy_row_major(size_t index, std::byte* out) const {
  const TensorInfo& info = tensors_[index];
  if (info.size() == 0) return;
  const auto& [shape, stride] = std::tie(info.shape, layouts_[index].stride);
  const auto element = uint64_t(safetensors_bits(info.dtype) / 8);
  const bool runs = !shape.empty() && (stride.back() == 1 || shape.back() == 1);
  const size_t walked = runs ? shape.size() - 1 : shape.size();
  const uint64_t piece = runs ? uint64_t(shape.back()) * element : element;
  std::vector<int64_t> position(walked, 0);
  uint64_t from = info.begin;
  for (const std::byte* end = out + info.size(); out != end; out += piece) {
    std::memcpy(out, map_.bytes().data() + from, piece);
    for (size_t i = walked; i-- > 0;) {
      from += uint64_t(stride[i]) * element;
      if (++position[i] < shape[i]) break;
      from -= uint64_t(stride[i]) * uint64_t(shape[i]) * element;
      position[i] = 0;
    }
  }
}

std::span<const std::byte> TorchFile::bytes(const std::string& name) const {
  const TensorInfo& found = info(name);
  const size_t index = by_name_.at(name);
  if (layouts_[index].row_major) return map_.bytes().subspan(found.begin, found.size());
  const std::lock_guard lock(copies_mutex_);
  std::vector<std::byte>& copy = copies_[index];
  if (copy.empty()) {
    copy.resize(found.size());
    copy_row_major(index, copy.data());
  }
  return copy;
}

at::Tensor TorchFile::tensor(const std::string& name) const {
  const TensorInfo& found = info(name);
  const at::ScalarType dtype = dtype_of(found);
  const size_t index = by_name_.at(name);
  const std::byte* data = map_.bytes().data() + found.begin;
  if (layouts_[index].row_major && reinterpret_cast<uintptr_t>(data) % c10::elementSize(dtype) == 0)
    return at::from_blob(
        const_cast<std::byte*>(data), found.shape, [keep = shared_from_this()](void*) {}, at::TensorOptions(dtype));
  at::Tensor copy = at::empty(found.shape, dtype);
  copy_row_major(index, static_cast<std::byte*>(copy.data_ptr()));
  return copy;
}

}  // namespace suture::io
