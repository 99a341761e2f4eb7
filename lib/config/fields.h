// SPDX-License-Identifier: Apache-2.0
// Typed configuration. A struct names each of its fields once, in visit():
//
//   struct Edit {
//     int layer = 8;
//     std::string subject;
//     template <class V> void visit(V& v) {
//       v.optional("layer", layer, "block whose MLP is edited", between(0, 999));
//       v.required("subject", subject, "text that the fact is about");
//     }
//     void check(Checker& c) const { c.require(layer != 3, "layer", "must not be 3"); }  // optional; runs after
//     reading
//   };
//
// load<Edit>() binds YAML to it, schema<Edit>() documents it, resolved() writes it back. The value that a member of an
// optional field holds in a default-constructed struct is its default. Fields may be bool, integers, floating point,
// std::string, std::filesystem::path, enums with a Names<> table, structs with visit(), and std::vector, std::optional
// and std::map<std::string, ...> of any of these. visit() may branch on members that it has read before.
//
// The YAML accepted is a subset: one document, no tabs, anchors, merge keys or tags; true and false only; decimal
// numbers (8, -3, 5e-1, .0625; not 010, 0x10, yes, inf, "5"). Everything wrong with a file is reported at once, each
// complaint with file, line, column, the line and a caret, as one Error(kConfig).
#pragma once
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/json.h"

namespace suture::config {

// ---- where the text comes from
// -------------------------------------------------------------------------------------------

struct Source {
  std::string name;  // shown in complaints
  std::string text;
  std::filesystem::path folder;        // relative paths in the file start here
  std::vector<std::string> overrides;  // "key.sub[0].x=value", the value read as YAML; applied in order before binding
};

Source read_source(const std::filesystem::path& path, std::vector<std::string> overrides = {});

// `path` as it is when absolute or empty, else below the folder of the configuration file.
std::filesystem::path resolve(const Source& source, const std::filesystem::path& path);

// ---- limits
// --------------------------------------------------------------------------------------------------------------

// Bounds of a number, or of every number in a list, map or optional; and whether a list, map or text may be empty.
struct Limits {
  std::optional<double> low, high;
  bool low_open = false, high_open = false, not_empty = false;
  bool allows(double value) const;
  std::string text() const;  // "[0, 1)", ">= 1", "not empty", ""
};

inline Limits between(double low, double high) { return {.low = low, .high = high}; }  // both ends included
inline Limits half_open(double low, double high) { return {.low = low, .high = high, .high_open = true}; }
inline Limits at_least(double low) { return {.low = low}; }
inline Limits above(double low) { return {.low = low, .low_open = true}; }
inline Limits at_most(double high) { return {.high = high}; }
inline Limits non_empty(Limits limits = {}) {
  limits.not_empty = true;
  return limits;
}

// ---- enums
// ---------------------------------------------------------------------------------------------------------------

// template <> struct config::Names<Kind> { static constexpr std::pair<std::string_view, Kind> table[] = {{"mean",
// Kind::kMean}, ...}; };
template <class E>
struct Names;

template <class E>
std::string_view name_of(E value) {
  for (const auto& [name, entry] : Names<E>::table)
    if (entry == value) return name;
  return "?";
}

// The nearest of `candidates` if it is near enough to be a slip, else "".
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// ---- the tree
// ------------------------------------------------------------------------------------------------------------

struct Place {  // origin 0 is the file, n the nth override; line and column count bytes from 0
  int origin = 0, line = 0, column = 0;
};

struct Node {
  enum class Kind { kNothing, kScalar, kList, kMap, kBroken };  // kBroken: already complained about
  struct Entry;
  Kind kind = Kind::kNothing;
  bool quoted = false;
  Place place;
  std::string scalar;
  std::vector<Node> items;
  std::vector<Entry> entries;
  const Entry* find(std::string_view key) const;
};

struct Node::Entry {
  std::string key;
  Place place;
  Node value;
};

// ---- what a type can do
// --------------------------------------------------------------------------------------------------

class Reader;
class Visitor;

class Type {
 public:
  enum class Shape { kScalar, kStruct, kList, kMap, kOptional };
  virtual Shape shape() const { return Shape::kScalar; }
  virtual std::string what() const = 0;  // "an integer", for complaints
  virtual std::string noun() const = 0;  // "integer", for the schema
  virtual const Type* item() const { return nullptr; }
  virtual void read(Reader& reader, const Node& node, const std::string& path, void* out,
                    const Limits& limits) const = 0;
  virtual Json resolved(const void* value) const = 0;
  virtual void resolve_paths(void*, const std::filesystem::path&) const {}
  virtual void visit_default(Visitor&) const {}                    // structs: walks a default-constructed value
  virtual std::vector<std::string> choices() const { return {}; }  // enums

 protected:
  ~Type() = default;
};

template <class T>
const Type& type_of();

struct Field {
  std::string_view key, help;
  bool required = false;
  void* value = nullptr;
  const Type* type = nullptr;
  Limits limits;
};

class Visitor {
 public:
  template <class T>
  void required(std::string_view key, T& member, std::string_view help, Limits limits = {}) {
    field({key, help, true, &member, &type_of<T>(), limits});
  }
  template <class T>
  void optional(std::string_view key, T& member, std::string_view help, Limits limits = {}) {
    field({key, help, false, &member, &type_of<T>(), limits});
  }

 protected:
  ~Visitor() = default;
  virtual void field(const Field& field) = 0;
};

template <class T>
concept Visited = requires(T& value, Visitor& visitor) {
  value.visit(visitor);
};

// Handed to a struct's check(): complaints about fields that are each fine but do not go together.
class Checker {
 public:
  Checker(Reader& reader, const Node& node, std::string path) : reader_(reader), node_(node), path_(std::move(path)) {}
  // `key` is relative to the struct and may go deeper: "facts[2].subject". The message follows "'path' ".
  void complain(std::string_view key, std::string_view message);
  void require(bool condition, std::string_view key, std::string_view message) {
    if (!condition) complain(key, message);
  }

 private:
  Reader& reader_;
  const Node& node_;
  std::string path_;
};

template <class T>
concept Checked = requires(const T& value, Checker& checker) {
  value.check(checker);
};

class Reader {
 public:
  void complain(const Place& place, std::string message);
  void wants(const Node& node, const std::string& path, const Type& type);  // "'a.b' wants an integer, got 'x'"
  size_t complaints() const { return complaints_.size(); }

  std::optional<int64_t> integer(const Node& node, const std::string& path, const Type& type, const Limits& limits,
                                 int64_t low, int64_t high);
  std::optional<uint64_t> natural(const Node& node, const std::string& path, const Type& type, const Limits& limits,
                                  uint64_t high);
  std::optional<double> number(const Node& node, const std::string& path, const Type& type, const Limits& limits);
  std::optional<size_t> choice(const Node& node, const std::string& path, const Type& type);
  bool list(const Node& node, const std::string& path, const Type& type, const Limits& limits);
  bool map(const Node& node, const std::string& path, const Type& type, const Limits& limits);
  bool not_empty(const Node& node, const std::string& path, const Limits& limits, bool empty);

  struct Complaint {
    Place place;
    std::string message;
  };

 private:
  friend class Document;
  std::vector<Complaint> complaints_;
};

// Reads one mapping: fields as visit() names them, then finish() for the keys that nobody asked for.
class StructReader final : public Visitor {
 public:
  StructReader(Reader& reader, const Node& node, std::string path);
  bool finish();  // whether nothing was complained about

 private:
  void field(const Field& field) override;
  Reader& reader_;
  const Node& node_;
  std::string path_;
  size_t before_;
  bool usable_;
  std::vector<std::string> known_;
};

class StructWriter final : public Visitor {
 public:
  Json json = Json::object();

 private:
  void field(const Field& field) override { json[std::string(field.key)] = field.type->resolved(field.value); }
};

class PathResolver final : public Visitor {
 public:
  explicit PathResolver(std::filesystem::path folder) : folder_(std::move(folder)) {}

 private:
  void field(const Field& field) override { field.type->resolve_paths(field.value, folder_); }
  std::filesystem::path folder_;
};

// ---- scalars
// -------------------------------------------------------------------------------------------------------------

extern const Type& bool_type;
extern const Type& string_type;
extern const Type& path_type;
Json json_of_float(float value);  // the double whose shortest text is that of the float

template <class T>
class IntegerType final : public Type {
 public:
  std::string what() const override { return std::is_signed_v<T> ? "an integer" : "an integer of at least 0"; }
  std::string noun() const override { return "integer"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    using Bound = std::numeric_limits<T>;
    if constexpr (std::is_signed_v<T>) {
      if (const auto v = reader.integer(node, path, *this, limits, Bound::min(), Bound::max()))
        *static_cast<T*>(out) = T(*v);
    } else {
      if (const auto v = reader.natural(node, path, *this, limits, Bound::max())) *static_cast<T*>(out) = T(*v);
    }
  }
  Json resolved(const void* value) const override { return *static_cast<const T*>(value); }
};

template <class T>
class NumberType final : public Type {
 public:
  std::string what() const override { return "a number"; }
  std::string noun() const override { return "number"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    if (const auto v = reader.number(node, path, *this, limits)) *static_cast<T*>(out) = T(*v);
  }
  Json resolved(const void* value) const override {
    if constexpr (std::is_same_v<T, float>) return json_of_float(*static_cast<const float*>(value));
    return *static_cast<const T*>(value);
  }
};

std::string one_of(const std::vector<std::string>& choices);  // "one of a, b, c"

template <class E>
class EnumType final : public Type {
 public:
  std::string what() const override { return one_of(choices()); }
  std::string noun() const override { return one_of(choices()); }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits&) const override {
    if (const auto index = reader.choice(node, path, *this))
      *static_cast<E*>(out) = std::begin(Names<E>::table)[*index].second;
  }
  Json resolved(const void* value) const override { return std::string(name_of(*static_cast<const E*>(value))); }
  std::vector<std::string> choices() const override {
    std::vector<std::string> names;
    for (const auto& [name, value] : Names<E>::table) names.emplace_back(name);
    return names;
  }
};

// ---- containers
// ----------------------------------------------------------------------------------------------------------

template <class T>
class ListType final : public Type {
 public:
  Shape shape() const override { return Shape::kList; }
  std::string what() const override { return "a list"; }
  std::string noun() const override { return "list of " + item()->noun(); }
  const Type* item() const override { return &type_of<T>(); }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    if (!reader.list(node, path, *this, limits)) return;
    std::vector<T> values;
    for (const Node& item_node : node.items) {
      T value{};
      item()->read(reader, item_node, path + "[" + std::to_string(values.size()) + "]", &value, limits);
      values.push_back(std::move(value));
    }
    *static_cast<std::vector<T>*>(out) = std::move(values);
  }
  Json resolved(const void* value) const override {
    Json json = Json::array();
    for (const T& each : *static_cast<const std::vector<T>*>(value)) json.push_back(item()->resolved(&each));
    return json;
  }
  void resolve_paths(void* value, const std::filesystem::path& folder) const override {
    if constexpr (!std::is_same_v<T, bool>)
      for (T& each : *static_cast<std::vector<T>*>(value)) item()->resolve_paths(&each, folder);
  }
};

template <class T>
class MapType final : public Type {
 public:
  Shape shape() const override { return Shape::kMap; }
  std::string what() const override { return "a mapping"; }
  std::string noun() const override { return "mapping of name to " + item()->noun(); }
  const Type* item() const override { return &type_of<T>(); }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    if (!reader.map(node, path, *this, limits)) return;
    std::map<std::string, T> values;
    for (const Node::Entry& entry : node.entries)
      item()->read(reader, entry.value, path + "." + entry.key, &values[entry.key], limits);
    *static_cast<std::map<std::string, T>*>(out) = std::move(values);
  }
  Json resolved(const void* value) const override {
    Json json = Json::object();
    for (const auto& [key, each] : *static_cast<const std::map<std::string, T>*>(value))
      json[key] = item()->resolved(&each);
    return json;
  }
  void resolve_paths(void* value, const std::filesystem::path& folder) const override {
    for (auto& [key, each] : *static_cast<std::map<std::string, T>*>(value)) item()->resolve_paths(&each, folder);
  }
};

template <class T>
class OptionalType final : public Type {
 public:
  Shape shape() const override { return Shape::kOptional; }
  std::string what() const override { return item()->what(); }
  std::string noun() const override { return item()->noun(); }
  const Type* item() const override { return &type_of<T>(); }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits& limits) const override {
    auto& target = *static_cast<std::optional<T>*>(out);
    if (node.kind == Node::Kind::kNothing) {
      target.reset();
      return;
    }
    T value{};
    item()->read(reader, node, path, &value, limits);
    target = std::move(value);
  }
  Json resolved(const void* value) const override {
    const auto& held = *static_cast<const std::optional<T>*>(value);
    return held ? item()->resolved(&*held) : Json(nullptr);
  }
  void resolve_paths(void* value, const std::filesystem::path& folder) const override {
    if (auto& held = *static_cast<std::optional<T>*>(value)) item()->resolve_paths(&*held, folder);
  }
  std::vector<std::string> choices() const override { return item()->choices(); }
};

template <Visited T>
class StructType final : public Type {
 public:
  Shape shape() const override { return Shape::kStruct; }
  std::string what() const override { return "a mapping"; }
  std::string noun() const override { return "mapping"; }
  void read(Reader& reader, const Node& node, const std::string& path, void* out, const Limits&) const override {
    T& value = *static_cast<T*>(out);
    StructReader fields(reader, node, path);
    value.visit(static_cast<Visitor&>(fields));
    if (!fields.finish()) return;
    if constexpr (Checked<T>) {
      Checker checker(reader, node, path);
      std::as_const(value).check(checker);
    }
  }
  Json resolved(const void* value) const override {
    StructWriter writer;  // only reads through the pointers that visit() hands it
    static_cast<T*>(const_cast<void*>(value))->visit(static_cast<Visitor&>(writer));
    return std::move(writer.json);
  }
  void resolve_paths(void* value, const std::filesystem::path& folder) const override {
    PathResolver resolver(folder);
    static_cast<T*>(value)->visit(static_cast<Visitor&>(resolver));
  }
  void visit_default(Visitor& visitor) const override {
    T value{};
    value.visit(visitor);
  }
};

namespace detail {
template <class T>
struct TypeFor;
template <class T>
requires std::integral<T>
struct TypeFor<T> {
  using type = IntegerType<T>;
};
template <std::floating_point T>
struct TypeFor<T> {
  using type = NumberType<T>;
};
template <class T>
requires std::is_enum_v<T>
struct TypeFor<T> {
  using type = EnumType<T>;
};
template <Visited T>
struct TypeFor<T> {
  using type = StructType<T>;
};
template <class T>
struct TypeFor<std::vector<T>> {
  using type = ListType<T>;
};
template <class T>
struct TypeFor<std::map<std::string, T>> {
  using type = MapType<T>;
};
template <class T>
struct TypeFor<std::optional<T>> {
  using type = OptionalType<T>;
};
}  // namespace detail

template <class T>
const Type& type_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return bool_type;
  } else if constexpr (std::is_same_v<T, std::string>) {
    return string_type;
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return path_type;
  } else {
    static const typename detail::TypeFor<T>::type type;
    return type;
  }
}

// ---- what callers use
// ----------------------------------------------------------------------------------------------------

void load_into(const Source& source, const Type& type, void* out);
std::string schema_of(const Type& type);
std::string to_yaml(const Json& value);

// Throws Error(kConfig) with every complaint. Paths stay as written, except that a relative path in an override becomes
// absolute, seen from the working directory.
template <class T>
T load(const Source& source) {
  T value{};
  load_into(source, type_of<T>(), &value);
  return value;
}

// Makes every relative path of `value` start at `folder` (usually Source::folder). Empty paths stay empty.
template <class T>
void resolve_paths(T& value, const std::filesystem::path& folder) {
  type_of<T>().resolve_paths(&value, folder);
}

// YAML text with every key: its default or <required>, and as a comment its help, type and limits.
template <class T>
std::string schema() {
  return schema_of(type_of<T>());
}

// Every value, defaults included, in the order of visit().
template <class T>
Json resolved(const T& value) {
  return type_of<T>().resolved(&value);
}

// The same as YAML that load() reads back to the same value.
template <class T>
std::string resolved_yaml(const T& value) {
  return to_yaml(resolved(value));
}

}  // namespace suture::config
