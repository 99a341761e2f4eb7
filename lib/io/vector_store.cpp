// SPDX-License-Identifier: Apache-2.0
#include "io/vector_store.h"

#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "io/hdf5.h"
#include "tensor/shape.h"

namespace suture::io {
namespace {

constexpr const char* kSchema = "suture.vectors";
constexpr int64_t kVersion = 1;

bool finite(const at::Tensor& tensor) { return !tensor.is_floating_point() || at::isfinite(tensor).all().item<bool>(); }

// `code` for wrong structure, `nan_code` for numbers that are none.
void check(const VectorStore& store, const fs::path& path, Code code, Code nan_code) {
  std::set<std::string> names;
  std::map<std::string, std::pair<std::string, int64_t>> widths;  // site -> first vector, width
  for (const StoredVector& v : store.vectors) {
    const std::string what = fmt::format("vector '{}' of {}", v.name, path.string());
    if (v.name.empty() || v.name == "." || v.name.find('/') != std::string::npos)
      fail(code, "cannot use {}: a name is not empty and has no '/'", what);
    if (!names.insert(v.name).second) fail(code, "cannot use {}: the name comes twice", what);
    tensor::require_shape(v.value_D, {{"D"}}, what, code);
    if (v.value_D.scalar_type() != at::kFloat || v.value_D.numel() == 0)
      fail(code, "cannot use {}: expected at least one float32, got {} {}", what, v.value_D.numel(),
           c10::toString(v.value_D.scalar_type()));
    const auto& [first, width] = widths.emplace(v.site, std::pair(v.name, v.value_D.numel())).first->second;
    if (width != v.value_D.numel())
      fail(code, "cannot use {}: width {}, but '{}' at the same site {} has {}", what, v.value_D.numel(), first, v.site,
           width);
    if (!finite(v.value_D)) fail(nan_code, "cannot use {}: it holds NaN or infinity", what);
  }
  for (const auto& [name, table] : store.tables)
    if (!finite(table)) fail(nan_code, "cannot use table '{}' of {}: it holds NaN or infinity", name, path.string());
}

void write_vector(Hdf5Group group, const StoredVector& v, int64_t order) {
  group.set_integer("order", order);
  group.set_text("site", v.site);
  group.set_integer("layer", v.layer);
  group.set_number("scale", v.scale);
  group.set_text("where", v.where);
  group.set_text("method", v.method);
  group.set_text("source_dtype", v.source_dtype);
  group.write("value", v.value_D);
  group.write_json("attributes", v.attributes);
}

StoredVector read_vector(const Hdf5Group& group, const std::string& name) {
  StoredVector v;
  v.name = name;
  v.value_D = group.read("value");
  v.site = group.text("site");
  v.layer = group.integer("layer");
  v.scale = group.number("scale");
  v.where = group.text("where");
  v.method = group.text("method");
  v.source_dtype = group.text("source_dtype");
  v.attributes = group.read_json("attributes");
  return v;
}

}  // namespace

const StoredVector& VectorStore::vector(const std::string& name) const {
  std::string names;
  for (const StoredVector& v : vectors) {
    if (v.name == name) return v;
    names += (names.empty() ? "" : ", ") + v.name;
  }
  fail(Code::kData, "cannot find vector '{}': the store has {}", name, names.empty() ? "none" : names);
}

void write_vector_store(const fs::path& path, const VectorStore& store) {
  check(store, path, Code::kBug, Code::kNumerics);
  Hdf5File::write(path, [&](Hdf5Group& root) {
    write_schema(root, kSchema, kVersion);
    root.write_json("provenance", store.provenance);
    Hdf5Group vectors = root.create_group("vectors"), tables = root.create_group("tables");
    for (size_t i = 0; i < store.vectors.size(); ++i)
      write_vector(vectors.create_group(store.vectors[i].name), store.vectors[i], int64_t(i));
    for (const auto& [name, table] : store.tables) tables.write(name, table);
  });
}

VectorStore read_vector_store(const fs::path& path) {
  const Hdf5Group root = Hdf5File::open(path);
  require_schema(root, path, kSchema, kVersion);
  VectorStore store;
  store.provenance = root.read_json("provenance");
  const Hdf5Group vectors = root.group("vectors"), tables = root.group("tables");
  std::vector<std::pair<int64_t, std::string>> order;
  for (const std::string& name : vectors.names()) order.emplace_back(vectors.group(name).integer("order"), name);
  std::sort(order.begin(), order.end());
  for (const auto& [position, name] : order) store.vectors.push_back(read_vector(vectors.group(name), name));
  for (const std::string& name : tables.names()) store.tables[name] = tables.read(name);
  check(store, path, Code::kData, Code::kData);
  return store;
}

}  // namespace suture::io
