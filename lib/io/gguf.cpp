// SPDX-License-Identifier: Apache-2.0
#include "io/gguf.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#include "core/error.h"
#include "io/ggml_types.h"
#include "tensor/dtype.h"

namespace suture::io {
namespace {

constexpr uint32_t kArrayType = 9;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint32_t kMostDimensions = 4;
constexpr uint64_t kLeastKeyBytes = 8 + 4 + 1;         // empty key, type, one byte
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 4 + 8;  // empty name, no dimensions, type, offset

template <class... Cases>
struct Overload : Cases... {
  using Cases::operator()...;
};

const char* kind_of(const GgufFile::Value& value) {
  const bool array = std::holds_alternative<GgufFile::Array>(value);
  if (!array) {
    constexpr std::array names = {"a flag", "an integer", "an integer", "a number", "a text"};
    return names[std::get<GgufFile::Scalar>(value).index()];
  }
  constexpr std::array names = {"an array of flags", "an array of integers", "an array of numbers",
                                "an array of texts"};
  return names[std::get<GgufFile::Array>(value).index()];
}

[[noreturn]] void wrong_kind(const fs::path& path, const std::string& key, const GgufFile::Value& value,
                             const char* wanted) {
  fail(Code::kModel, "cannot use key '{}' of {}: it is {}, expected {}", key, path.string(), kind_of(value), wanted);
}

}  // namespace

// A cursor over the map; every read is bounded.
class GgufFile::Reader {
 public:
  explicit Reader(const MappedFile& map) : map_(map) {}

  [[noreturn]] void broken(const std::string& why) const {
    fail(Code::kFile, "cannot read {}: {} (at offset {})", map_.path().string(), why, at_);
  }
  uint64_t at() const { return at_; }
  uint64_t left() const { return map_.bytes().size() - at_; }

  template <class T>
  T number(const char* what) {
    if (left() < sizeof(T)) broken(fmt::format("truncated: {} needs {} bytes, {} left", what, sizeof(T), left()));
    T value;
    std::memcpy(&value, map_.bytes().data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::string text(const char* what) {
    const auto length = number<uint64_t>(what);
    if (length > left()) broken(fmt::format("truncated: {} of {} bytes, {} left", what, length, left()));
    std::string value(reinterpret_cast<const char*>(map_.bytes().data() + at_), length);
    at_ += length;
    return value;
  }

  uint64_t count(const char* what, uint64_t least_bytes) {
    const auto value = number<uint64_t>(what);
    if (value > left() / least_bytes)
      broken(fmt::format("truncated: {} says {}, the {} bytes left hold {} at most", what, value, left(),
                         left() / least_bytes));
    return value;
  }

  // Calls `use` with a value of the C++ type that the file's type number stands for; false for an unknown number.
  template <class Use>
  static bool with_type(uint32_t type, Use use) {
    switch (type) {
      case 0:
        use(uint8_t{});
        return true;
      case 1:
        use(int8_t{});
        return true;
      case 2:
        use(uint16_t{});
        return true;
      case 3:
        use(int16_t{});
        return true;
      case 4:
        use(uint32_t{});
        return true;
      case 5:
        use(int32_t{});
        return true;
      case 6:
        use(float{});
        return true;
      case 7:
        use(bool{});
        return true;
      case 8:
        use(std::string{});
        return true;
      case 10:
        use(uint64_t{});
        return true;
      case 11:
        use(int64_t{});
        return true;
      case 12:
        use(double{});
        return true;
      default:
        return false;
    }
  }

  Value value(const std::string& key) {
    const auto type = number<uint32_t>("value type");
    if (type == kArrayType) return array(key);
    Value result;
    const bool known = with_type(type, [&](auto sample) { result = scalar<decltype(sample)>(); });
    if (!known) broken(fmt::format("key '{}' has unknown value type {}", key, type));
    return result;
  }

 private:
  template <class T>
  Scalar scalar() {
    if constexpr (std::is_same_v<T, std::string>)
      return text("text");
    else if constexpr (std::is_same_v<T, bool>)
      return number<uint8_t>("flag") != 0;
    else if constexpr (std::is_floating_point_v<T>)
      return double(number<T>("number"));
    else {
      const T value = number<T>("integer");
      if (std::in_range<int64_t>(value)) return int64_t(value);
      return uint64_t(value);
    }
  }

  Value array(const std::string& key) {
    const auto type = number<uint32_t>("array type");
    Value result;
    const bool known = with_type(type, [&](auto sample) { result = elements<decltype(sample)>(key); });
    if (!known) broken(fmt::format("key '{}' is an array of unknown or nested type {}", key, type));
    return result;
  }

  template <class T>
  Array elements(const std::string& key) {
    constexpr bool is_text = std::is_same_v<T, std::string>;
    using Kept = std::conditional_t<std::is_integral_v<T> && !std::is_same_v<T, bool>, int64_t,
                                    std::conditional_t<std::is_floating_point_v<T>, double, T>>;
    const uint64_t n = count("array length", is_text ? sizeof(uint64_t) : sizeof(T));
    std::vector<Kept> values;
    values.reserve(n);
    for (uint64_t i = 0; i < n; ++i) {
      const Scalar one = scalar<T>();
      if (!std::holds_alternative<Kept>(one)) broken(fmt::format("key '{}' holds an integer above 2^63-1", key));
      values.push_back(std::get<Kept>(one));
    }
    return values;
  }

  const MappedFile& map_;
  uint64_t at_ = 0;
};

namespace {

// A tensor's table row without its offsets checked against the data.
GgufFile::Info read_info(auto& reader) {
  GgufFile::Info info;
  info.name = reader.text("tensor name");
  const auto dimensions = reader.template number<uint32_t>("number of dimensions");
  if (dimensions > kMostDimensions)
    reader.broken(fmt::format("tensor '{}' has {} dimensions (limit {})", info.name, dimensions, kMostDimensions));
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = reader.template number<uint64_t>("dimension");
    if (size > uint64_t(std::numeric_limits<int64_t>::max()))
      reader.broken(fmt::format("tensor '{}' has a dimension of {}", info.name, size));
    info.shape.insert(info.shape.begin(), int64_t(size));
  }
  info.type_id = reader.template number<uint32_t>("tensor type");
  info.begin = reader.template number<uint64_t>("tensor offset");
  const GgmlType* type = find_ggml_type(info.type_id);
  if (type == nullptr) reader.broken(fmt::format("tensor '{}' has unknown type {}", info.name, info.type_id));
  info.type = type->name;
  const int64_t row = info.shape.empty() ? 1 : info.shape.back();
  if (row % type->elements != 0)
    reader.broken(fmt::format("tensor '{}' has rows of {}, not a multiple of {}'s block of {}", info.name, row,
                              info.type, type->elements));
  uint64_t bytes = uint64_t(row / type->elements);
  bool fits = !__builtin_mul_overflow(bytes, uint64_t(type->bytes), &bytes);
  for (size_t i = 0; i + 1 < info.shape.size(); ++i)
    fits = fits && !__builtin_mul_overflow(bytes, uint64_t(info.shape[i]), &bytes);
  // Elements, too, must be countable, and they outnumber bytes in no type by more than eight.
  if (!fits || bytes > uint64_t(std::numeric_limits<int64_t>::max()) / 8 ||
      __builtin_add_overflow(info.begin, bytes, &info.end))
    reader.broken(fmt::format("tensor '{}' has a size that overflows", info.name));
  return info;
}

// The integer of `key`, or `otherwise` when it is absent or something else.
int64_t integer_in(const std::unordered_map<std::string, GgufFile::Value>& values, const std::string& key,
                   int64_t otherwise) {
  const auto found = values.find(key);
  if (found == values.end()) return otherwise;
  const auto* scalar = std::get_if<GgufFile::Scalar>(&found->second);
  const auto* number = scalar == nullptr ? nullptr : std::get_if<int64_t>(scalar);
  return number == nullptr ? otherwise : *number;
}

void check_offsets(const fs::path& path, const std::vector<GgufFile::Info>& tensors, uint64_t alignment,
                   uint64_t data_size) {
  const auto broken = [&](const GgufFile::Info& info, const std::string& why) {
    fail(Code::kFile, "cannot read {}: tensor '{}' at data offset {}: {}", path.string(), info.name, info.begin, why);
  };
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(tensors[a].begin, tensors[a].end) < std::pair(tensors[b].begin, tensors[b].end);
  });
  const GgufFile::Info* before = nullptr;
  for (const size_t i : order) {
    const GgufFile::Info& info = tensors[i];
    if (info.begin % alignment != 0) broken(info, fmt::format("not a multiple of the alignment {}", alignment));
    if (info.end > data_size)
      broken(info, fmt::format("truncated: it ends at {}, the file has {} bytes of data", info.end, data_size));
    if (before != nullptr && info.begin < before->end)
      broken(info, fmt::format("overlaps tensor '{}', which ends at {}", before->name, before->end));
    before = &info;
  }
}

// The part's number (from 0) and how many there are; {0, 1} for a file that is whole.
struct Split {
  int64_t number = 0, count = 1;
  bool operator==(const Split&) const = default;
};

Split split_of(const std::unordered_map<std::string, GgufFile::Value>& values) {
  const int64_t count = integer_in(values, "split.count", 1);
  return count <= 1 ? Split{} : Split{integer_in(values, "split.no", -1), count};
}

std::string part_ending(const Split& split) {
  return fmt::format("-{:05}-of-{:05}.gguf", split.number + 1, split.count);
}

// Paths of all parts beside `path`, which says that it is part `split`.
std::vector<fs::path> part_paths(const fs::path& path, const Split& split) {
  const std::string name = path.filename().string(), ending = part_ending(split);
  if (!name.ends_with(ending))
    fail(Code::kFile,
         "cannot read {}: it is part {} of a GGUF split into {}, whose names end in {}; give it its name back, or "
         "merge the "
         "parts with llama-gguf-split --merge",
         path.string(), split.number + 1, split.count, ending);
  const std::string stem = name.substr(0, name.size() - ending.size());
  std::vector<fs::path> paths;
  std::string missing;
  int64_t missing_count = 0;
  for (int64_t i = 0; i < split.count; ++i) {
    paths.push_back(path.parent_path() / (stem + part_ending({i, split.count})));
    if (fs::exists(paths.back())) continue;
    missing.append(missing.empty() ? "" : ", ").append(paths.back().filename().string());
    ++missing_count;
  }
  if (missing_count > 0)
    fail(Code::kFile, "cannot read {}: {} of its {} parts missing: {}", path.string(), missing_count, split.count,
         missing);
  return paths;
}

}  // namespace

struct GgufFile::Header {
  uint32_t version = 0;
  uint64_t data_start = 0;
  std::vector<std::string> order;
  std::unordered_map<std::string, Value> values;
  std::vector<Info> tensors;
};

std::shared_ptr<const GgufFile> GgufFile::open(const fs::path& path) {
  std::shared_ptr<GgufFile> file(new GgufFile);
  auto named = std::make_unique<MappedFile>(path);
  Header header = read_header(*named);
  const Split split = split_of(header.values);
  if (split.count == 1) {
    file->add_part(std::move(named), std::move(header));
    return file;
  }
  constexpr int64_t kMostParts = 0xFFFF;  // split.count is a u16
  if (split.number < 0 || split.number >= split.count || split.count > kMostParts)
    fail(Code::kFile, "cannot read {}: split.no is {}, split.count {}", path.string(), split.number, split.count);
  const std::vector<fs::path> paths = part_paths(path, split);
  for (int64_t i = 0; i < split.count; ++i) {
    auto map = i == split.number ? std::move(named) : std::make_unique<MappedFile>(paths[size_t(i)]);
    Header part = i == split.number ? std::move(header) : read_header(*map);
    if (const Split found = split_of(part.values); found != Split{i, split.count})
      fail(Code::kFile, "cannot read {}: it says it is part {} of {}, expected {} of {}", map->path().string(),
           found.number + 1, found.count, i + 1, split.count);
    file->add_part(std::move(map), std::move(part));
  }
  const int64_t tensors = file->integer_or("split.tensors.count", int64_t(file->tensors_.size()));
  if (tensors != int64_t(file->tensors_.size()))
    fail(Code::kFile, "cannot read {}: split.tensors.count is {}, the {} parts hold {}", file->path().string(), tensors,
         split.count, file->tensors_.size());
  return file;
}

void GgufFile::add_part(std::unique_ptr<MappedFile> map, Header header) {
  if (parts_.empty()) {
    version_ = header.version;
    order_ = std::move(header.order);
    values_ = std::move(header.values);
  }
  for (Info& info : header.tensors) {
    info.part = parts_.size();
    if (!by_name_.emplace(info.name, tensors_.size()).second)
      fail(Code::kFile, "cannot read {}: duplicate tensor '{}'", map->path().string(), info.name);
    tensors_.push_back(std::move(info));
  }
  parts_.push_back(std::move(map));
  data_starts_.push_back(header.data_start);
}

GgufFile::Header GgufFile::read_header(const MappedFile& map) {
  Reader reader(map);
  Header header;
  const auto all = map.bytes();
  if (all.size() < 4 || std::memcmp(all.data(), "GGUF", 4) != 0)
    reader.broken("not a GGUF file: it does not start with 'GGUF'");
  reader.number<uint32_t>("magic");
  header.version = reader.number<uint32_t>("version");
  if ((header.version & 0xFFFF) == 0 && header.version != 0)
    reader.broken("big-endian GGUF is not supported: convert it to little endian");
  if (header.version < 2 || header.version > 3)
    reader.broken(fmt::format("GGUF version {} is not supported (2..3 are)", header.version));
  const uint64_t tensor_count = reader.count("tensor count", kLeastTensorBytes);
  const uint64_t key_count = reader.count("key count", kLeastKeyBytes);
  for (uint64_t i = 0; i < key_count; ++i) {
    std::string key = reader.text("key");
    Value value = reader.value(key);
    if (!header.values.emplace(key, std::move(value)).second) reader.broken(fmt::format("duplicate key '{}'", key));
    header.order.push_back(std::move(key));
  }
  for (uint64_t i = 0; i < tensor_count; ++i) header.tensors.push_back(read_info(reader));
  const int64_t alignment = header.values.contains("general.alignment")
                                ? integer_in(header.values, "general.alignment", -1)
                                : int64_t(kDefaultAlignment);
  if (alignment < 1 || (alignment & (alignment - 1)) != 0 || alignment > (1 << 24))
    reader.broken(fmt::format("general.alignment is {}: expected a power of two", alignment));
  header.data_start = (reader.at() + uint64_t(alignment) - 1) / uint64_t(alignment) * uint64_t(alignment);
  check_offsets(map.path(), header.tensors, uint64_t(alignment),
                all.size() > header.data_start ? all.size() - header.data_start : 0);
  return header;
}

std::vector<fs::path> GgufFile::paths() const {
  std::vector<fs::path> paths;
  for (const auto& part : parts_) paths.push_back(part->path());
  return paths;
}

void GgufFile::forget_pages() const {
  for (const auto& part : parts_) part->forget_pages();
}

const GgufFile::Value& GgufFile::value(const std::string& key) const {
  const auto found = values_.find(key);
  if (found == values_.end()) fail(Code::kModel, "cannot find key '{}' in {}", key, path().string());
  return found->second;
}

std::string GgufFile::text(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* scalar = std::get_if<Scalar>(&found))
    if (const auto* text = std::get_if<std::string>(scalar)) return *text;
  wrong_kind(path(), key, found, "a text");
}

int64_t GgufFile::integer(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* scalar = std::get_if<Scalar>(&found))
    if (const auto* number = std::get_if<int64_t>(scalar)) return *number;
  wrong_kind(path(), key, found, "an integer below 2^63");
}

double GgufFile::number(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* scalar = std::get_if<Scalar>(&found)) {
    if (const auto* number = std::get_if<double>(scalar)) return *number;
    if (const auto* number = std::get_if<int64_t>(scalar)) return double(*number);
    if (const auto* number = std::get_if<uint64_t>(scalar)) return double(*number);
  }
  wrong_kind(path(), key, found, "a number");
}

bool GgufFile::flag(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* scalar = std::get_if<Scalar>(&found))
    if (const auto* flag = std::get_if<bool>(scalar)) return *flag;
  wrong_kind(path(), key, found, "a flag");
}

std::vector<std::string> GgufFile::texts(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* array = std::get_if<Array>(&found))
    if (const auto* texts = std::get_if<std::vector<std::string>>(array)) return *texts;
  wrong_kind(path(), key, found, "an array of texts");
}

std::vector<float> GgufFile::numbers(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* array = std::get_if<Array>(&found)) {
    if (const auto* numbers = std::get_if<std::vector<double>>(array)) return {numbers->begin(), numbers->end()};
    if (const auto* numbers = std::get_if<std::vector<int64_t>>(array)) return {numbers->begin(), numbers->end()};
  }
  wrong_kind(path(), key, found, "an array of numbers");
}

std::vector<int64_t> GgufFile::integers(const std::string& key) const {
  const Value& found = value(key);
  if (const auto* array = std::get_if<Array>(&found))
    if (const auto* integers = std::get_if<std::vector<int64_t>>(array)) return *integers;
  wrong_kind(path(), key, found, "an array of integers");
}

std::string GgufFile::text_or(const std::string& key, std::string otherwise) const {
  return has(key) ? text(key) : otherwise;
}
int64_t GgufFile::integer_or(const std::string& key, int64_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}
double GgufFile::number_or(const std::string& key, double otherwise) const {
  return has(key) ? number(key) : otherwise;
}
bool GgufFile::flag_or(const std::string& key, bool otherwise) const { return has(key) ? flag(key) : otherwise; }
std::vector<std::string> GgufFile::texts_or(const std::string& key, std::vector<std::string> otherwise) const {
  return has(key) ? texts(key) : otherwise;
}
std::vector<float> GgufFile::numbers_or(const std::string& key, std::vector<float> otherwise) const {
  return has(key) ? numbers(key) : otherwise;
}
std::vector<int64_t> GgufFile::integers_or(const std::string& key, std::vector<int64_t> otherwise) const {
  return has(key) ? integers(key) : otherwise;
}

std::vector<std::string> GgufFile::keys() const { return order_; }

bool GgufFile::is_array(const std::string& key) const {
  const auto found = values_.find(key);
  return found != values_.end() && std::holds_alternative<Array>(found->second);
}

const GgufFile::Info* GgufFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const GgufFile::Info& GgufFile::info(const std::string& name) const {
  if (const Info* found = find(name)) return *found;
  fail(Code::kModel, "cannot find tensor '{}' in {}", name, path().string());
}

std::span<const std::byte> GgufFile::bytes(const std::string& name) const {
  const Info& found = info(name);
  if (found.begin == found.end) return {};
  return parts_[found.part]->bytes().subspan(data_starts_[found.part] + found.begin, found.end - found.begin);
}

at::Tensor GgufFile::tensor(const std::string& name) const {
  const Info& found = info(name);
  const GgmlType& type = *find_ggml_type(found.type_id);
  const auto raw = bytes(name);
  const auto plain = type.elements == 1 ? tensor::find_file_dtype(type.name) : std::nullopt;
  if (plain && reinterpret_cast<uintptr_t>(raw.data()) % c10::elementSize(*plain) == 0)
    return at::from_blob(
        const_cast<std::byte*>(raw.data()), found.shape, [keep = shared_from_this()](void*) {},
        at::TensorOptions(*plain));
  if (plain) {
    at::Tensor copy = at::empty(found.shape, *plain);
    std::memcpy(copy.data_ptr(), raw.data(), raw.size());
    return copy;
  }
  if (type.to_float == nullptr)
    fail(Code::kModel,
         "cannot load tensor '{}' of {}: type {} is not supported; use another quantisation, Q8_0 or F16 for example",
         name, path().string(), found.type);
  at::Tensor values = at::empty(found.shape, at::kFloat);
  float* out = values.data_ptr<float>();
  for (size_t at = 0; at < raw.size(); at += size_t(type.bytes), out += type.elements)
    type.to_float(raw.data() + at, out);
  return values;
}

}  // namespace suture::io
