// SPDX-License-Identifier: Apache-2.0
#include "config/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "config/document.h"
#include "core/file.h"

namespace suture::config {
namespace {

namespace fs = std::filesystem;

std::string shortest(double value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, error == std::errc() ? end : buffer};
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kMap:
      return "a mapping";
    case Node::Kind::kScalar:
      return fmt::format("{}'{}'", node.quoted ? "the text " : "", node.scalar);
    default:
      return "nothing";
  }
}

// Whether `text` is a decimal number without a needless leading zero: from_chars alone would take 010, inf and nan.
bool plain_decimal(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const auto digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  if (digit(0) && text[0] == '0' && digit(1)) return false;
  return digit(0) || (text.starts_with('.') && digit(1));
}

template <class T>
std::from_chars_result read_whole(std::string_view text, T& value) {
  auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec == std::errc() && result.ptr != text.data() + text.size()) result.ec = std::errc::invalid_argument;
  return result;
}

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1), previous, before;
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    before = std::exchange(previous, row);
    row[0] = int(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string joined(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + (key.starts_with('[') ? "" : ".") + std::string(key);
}

std::string list_of(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

class BoolType final : public Type {
 public:
  std::string what() const override { return "true or false"; }
  std::string noun() const override { return "true or false"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits&) const override {
    const bool word =
        node.kind == Node::Kind::kScalar && !node.quoted && (node.scalar == "true" || node.scalar == "false");
    if (!word) return reader.wants(node, path, *this);
    *static_cast<bool*>(out) = node.scalar == "true";
  }
  Json resolved(const void* value) const override { return *static_cast<const bool*>(value); }
};

class StringType final : public Type {
 public:
  std::string what() const override { return "a text"; }
  std::string noun() const override { return "text"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    if (node.kind != Node::Kind::kScalar) return reader.wants(node, path, *this);
    if (!reader.not_empty(node, path, limits, node.scalar.empty())) return;
    *static_cast<std::string*>(out) = node.scalar;
  }
  Json resolved(const void* value) const override { return *static_cast<const std::string*>(value); }
};

class PathType final : public Type {
 public:
  std::string what() const override { return "a path"; }
  std::string noun() const override { return "path"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    if (node.kind != Node::Kind::kScalar) return reader.wants(node, path, *this);
    if (!reader.not_empty(node, path, limits, node.scalar.empty())) return;
    const bool from_command_line = node.place.origin > 0 && !node.scalar.empty();
    *static_cast<fs::path*>(out) = from_command_line ? fs::absolute(node.scalar) : fs::path(node.scalar);
  }
  Json resolved(const void* value) const override { return static_cast<const fs::path*>(value)->string(); }
  void resolve_paths(void* value, const fs::path& folder) const override {
    fs::path& path = *static_cast<fs::path*>(value);
    if (!path.empty() && path.is_relative()) path = (folder / path).lexically_normal();
  }
};

const BoolType the_bool_type;
const StringType the_string_type;
const PathType the_path_type;

}  // namespace

const Type& bool_type = the_bool_type;
const Type& string_type = the_string_type;
const Type& path_type = the_path_type;

Source read_source(const fs::path& path, std::vector<std::string> overrides) {
  return {.name = path.string(),
          .text = read_text(path, Code::kConfig),
          .folder = path.parent_path(),
          .overrides = std::move(overrides)};
}

fs::path resolve(const Source& source, const fs::path& path) {
  return path.empty() || path.is_absolute() ? path : (source.folder / path).lexically_normal();
}

bool Limits::allows(double value) const {
  if (low && (low_open ? value <= *low : value < *low)) return false;
  return !high || (high_open ? value < *high : value <= *high);
}

std::string Limits::text() const {
  if (low && high)
    return fmt::format("{}{}, {}{}", low_open ? "(" : "[", shortest(*low), shortest(*high), high_open ? ")" : "]");
  if (low) return fmt::format("{} {}", low_open ? ">" : ">=", shortest(*low));
  if (high) return fmt::format("{} {}", high_open ? "<" : "<=", shortest(*high));
  return not_empty ? "not empty" : "";
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  int smallest = std::max(2, int(word.size()) / 3 + 1);  // a slip changes less than a third of a long word
  for (const std::string& candidate : candidates)
    if (const int distance = edit_distance(word, candidate); distance < smallest) smallest = distance, best = candidate;
  return best;
}

std::string one_of(const std::vector<std::string>& choices) { return "one of " + list_of(choices); }

Json json_of_float(float value) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  double same = value;
  std::from_chars(buffer, end, same);
  return same;
}

// ---- Reader

void Reader::complain(const Place& place, std::string message) { complaints_.push_back({place, std::move(message)}); }

void Reader::wants(const Node& node, const std::string& path, const Type& type) {
  if (node.kind == Node::Kind::kBroken) return;
  std::string hint;
  if (node.kind == Node::Kind::kScalar)
    if (const std::string near = nearest(node.scalar, type.choices()); !near.empty())
      hint = fmt::format("; did you mean '{}'?", near);
  complain(node.place, fmt::format("{} wants {}, got {}{}", path.empty() ? "the document" : "'" + path + "'",
                                   type.what(), describe(node), hint));
}

std::optional<int64_t> Reader::integer(const Node& node, const std::string& path, const Type& type,
                                       const Limits& limits, int64_t low, int64_t high) {
  int64_t value = 0;
  const bool number = node.kind == Node::Kind::kScalar && !node.quoted && plain_decimal(node.scalar);
  const std::errc error = number ? read_whole(node.scalar, value).ec : std::errc::invalid_argument;
  if (error == std::errc::invalid_argument) return wants(node, path, type), std::nullopt;
  if (error != std::errc() || value < low || value > high || !limits.allows(double(value))) {
    const std::string bounds = limits.text().empty() ? fmt::format("[{}, {}]", low, high) : limits.text();
    complain(node.place, fmt::format("'{}' must lie in {}, got {}", path, bounds, node.scalar));
    return std::nullopt;
  }
  return value;
}

std::optional<uint64_t> Reader::natural(const Node& node, const std::string& path, const Type& type,
                                        const Limits& limits, uint64_t high) {
  uint64_t value = 0;
  const bool number = node.kind == Node::Kind::kScalar && !node.quoted && plain_decimal(node.scalar);
  const std::errc error = number ? read_whole(node.scalar, value).ec : std::errc::invalid_argument;
  if (error == std::errc::invalid_argument) return wants(node, path, type), std::nullopt;
  if (error != std::errc() || value > high || !limits.allows(double(value))) {
    const std::string bounds = limits.text().empty() ? fmt::format("[0, {}]", high) : limits.text();
    complain(node.place, fmt::format("'{}' must lie in {}, got {}", path, bounds, node.scalar));
    return std::nullopt;
  }
  return value;
}

std::optional<double> Reader::number(const Node& node, const std::string& path, const Type& type,
                                     const Limits& limits) {
  double value = 0;
  const bool number = node.kind == Node::Kind::kScalar && !node.quoted && plain_decimal(node.scalar);
  if (!number || read_whole(node.scalar, value).ec != std::errc()) return wants(node, path, type), std::nullopt;
  if (!limits.allows(value)) {
    complain(node.place, fmt::format("'{}' must lie in {}, got {}", path, limits.text(), node.scalar));
    return std::nullopt;
  }
  return value;
}

std::optional<size_t> Reader::choice(const Node& node, const std::string& path, const Type& type) {
  const std::vector<std::string> choices = type.choices();
  const auto found =
      node.kind == Node::Kind::kScalar ? std::find(choices.begin(), choices.end(), node.scalar) : choices.end();
  if (found == choices.end()) return wants(node, path, type), std::nullopt;
  return size_t(found - choices.begin());
}

bool Reader::list(const Node& node, const std::string& path, const Type& type, const Limits& limits) {
  if (node.kind != Node::Kind::kList) return wants(node, path, type), false;
  return not_empty(node, path, limits, node.items.empty());
}

bool Reader::map(const Node& node, const std::string& path, const Type& type, const Limits& limits) {
  if (node.kind != Node::Kind::kMap) return wants(node, path, type), false;
  return not_empty(node, path, limits, node.entries.empty());
}

bool Reader::not_empty(const Node& node, const std::string& path, const Limits& limits, bool empty) {
  if (!limits.not_empty || !empty) return true;
  complain(node.place, fmt::format("'{}' must not be empty", path));
  return false;
}

// ---- structs

StructReader::StructReader(Reader& reader, const Node& node, std::string path)
    : reader_(reader),
      node_(node),
      path_(std::move(path)),
      before_(reader.complaints()),
      usable_(node.kind == Node::Kind::kMap) {}

void StructReader::field(const Field& field) {
  known_.emplace_back(field.key);
  if (!usable_) return;
  const std::string path = joined(path_, field.key);
  if (const Node::Entry* entry = node_.find(field.key))
    return field.type->read(reader_, entry->value, path, field.value, field.limits);
  if (field.required) reader_.complain(node_.place, fmt::format("missing key '{}' ({})", path, field.help));
}

bool StructReader::finish() {
  if (!usable_) {
    if (node_.kind != Node::Kind::kBroken)
      reader_.complain(node_.place, fmt::format("{} wants a mapping with {}, got {}",
                                                path_.empty() ? "the document" : "'" + path_ + "'", list_of(known_),
                                                describe(node_)));
    return false;
  }
  for (const Node::Entry& entry : node_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const std::string near = nearest(entry.key, known_);
    reader_.complain(entry.place, fmt::format("unknown key '{}'{}", joined(path_, entry.key),
                                              near.empty() ? "; known are " + list_of(known_)
                                                           : fmt::format("; did you mean '{}'?", near)));
  }
  return reader_.complaints() == before_;
}

void Checker::complain(std::string_view key, std::string_view message) {
  const Node* node = &node_;
  Place place = node_.place;
  for (std::string_view rest = key; !rest.empty();) {
    const bool index = rest.starts_with('[');
    const size_t end =
        index ? std::min(rest.find(']'), rest.size() - 1) + 1 : std::min(rest.find_first_of(".["), rest.size());
    if (index) {
      size_t i = 0;
      std::from_chars(rest.data() + 1, rest.data() + end, i);
      if (i >= node->items.size()) break;
      node = &node->items[i];
    } else {
      const Node::Entry* entry = node->find(rest.substr(0, end));
      if (entry == nullptr) break;
      node = &entry->value;
    }
    place = node->place;
    rest.remove_prefix(end);
    if (rest.starts_with('.')) rest.remove_prefix(1);
  }
  reader_.complain(place, fmt::format("'{}' {}", joined(path_, key), message));
}

void load_into(const Source& source, const Type& type, void* out) {
  Document document(source);
  if (document.readable()) type.read(document.reader(), document.root(), "", out, {});
  if (!document.ok()) throw Error(Code::kConfig, document.report());
}

}  // namespace suture::config
