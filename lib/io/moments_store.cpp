// SPDX-License-Identifier: Apache-2.0
#include "io/moments_store.h"

#include <ATen/ops/isfinite.h>

#include "core/error.h"
#include "io/hdf5.h"

namespace suture::io {
namespace {

constexpr const char* kSchema = "suture.moments";
constexpr int64_t kVersion = 1;

struct Row {
  std::string group;
  MomentsEntry entry;
};

std::vector<Row> rows_of(const Hdf5Group& moments) {
  std::vector<Row> rows;
  for (const std::string& name : moments.names()) {
    const Hdf5Group group = moments.group(name);
    rows.push_back(
        {name,
         {{group.text("model_digest"), group.integer("layer"), group.text("data_digest"), group.integer("tokens")},
          group.integer("width"),
          group.read_json("provenance")}});
  }
  return rows;
}

Hdf5Group open_moments(const fs::path& path) {
  const Hdf5Group root = Hdf5File::open(path);
  require_schema(root, path, kSchema, kVersion);
  return root.group("moments");
}

void require_model(const fs::path& path, const std::vector<Row>& rows, const std::string& model_digest) {
  for (const Row& row : rows)
    if (row.entry.key.model_digest != model_digest)
      fail(Code::kData, "cannot use {}: its moments are of model {}, this model is {}; choose another file",
           path.string(), row.entry.key.model_digest, model_digest);
}

std::string group_name(const MomentsKey& key) {
  return fmt::format("layer_{:03}.{}.{}", key.layer, key.data_digest, key.tokens);
}

void write_entry(Hdf5Group group, const MomentsKey& key, const tensor::SecondMoment& moment, const Json& provenance) {
  group.set_text("model_digest", key.model_digest);
  group.set_integer("layer", key.layer);
  group.set_text("data_digest", key.data_digest);
  group.set_integer("tokens", key.tokens);
  group.set_integer("width", moment.width());
  group.write("sum", moment.sum_FF());
  group.write_json("provenance", provenance);
}

}  // namespace

std::optional<tensor::SecondMoment> find_moments(const fs::path& path, const MomentsKey& key, int64_t width) {
  if (!fs::exists(path)) return std::nullopt;
  const Hdf5Group moments = open_moments(path);
  const auto rows = rows_of(moments);
  require_model(path, rows, key.model_digest);
  for (const Row& row : rows) {
    if (!(row.entry.key == key)) continue;
    tensor::SecondMoment moment(moments.group(row.group).read("sum"), key.tokens);
    if (moment.width() != row.entry.width || (width != 0 && moment.width() != width))
      fail(Code::kData, "cannot use {}: moments of layer {} have width {}, expected {}", path.string(), key.layer,
           moment.width(), width != 0 ? width : row.entry.width);
    if (!at::isfinite(moment.sum_FF()).all().item<bool>())
      fail(Code::kData, "cannot use {}: moments of layer {} hold NaN or infinity", path.string(), key.layer);
    return moment;
  }
  return std::nullopt;
}

void put_moments(const fs::path& path, const MomentsKey& key, const tensor::SecondMoment& moment,
                 const Json& provenance) {
  if (moment.count() != key.tokens || key.data_digest.find('/') != std::string::npos)
    fail(Code::kBug, "cannot store moments of {} rows under a key of {} tokens and data digest '{}'", moment.count(),
         key.tokens, key.data_digest);
  std::optional<Hdf5Group> before;
  std::vector<Row> rows;
  if (fs::exists(path)) {
    before = open_moments(path);
    rows = rows_of(*before);
  }
  require_model(path, rows, key.model_digest);
  for (const Row& row : rows)
    if (row.entry.key.layer == key.layer && row.entry.width != moment.width())
      fail(Code::kData, "cannot add to {}: its moments of layer {} have width {}, these have {}", path.string(),
           key.layer, row.entry.width, moment.width());
  Hdf5File::write(path, [&](Hdf5Group& root) {
    write_schema(root, kSchema, kVersion);
    Hdf5Group moments = root.create_group("moments");
    for (const Row& row : rows)
      if (!(row.entry.key == key)) moments.copy_from(*before, row.group);
    write_entry(moments.create_group(group_name(key)), key, moment, provenance);
  });
}

std::vector<MomentsEntry> list_moments(const fs::path& path) {
  std::vector<MomentsEntry> entries;
  if (!fs::exists(path)) return entries;
  for (const Row& row : rows_of(open_moments(path))) entries.push_back(row.entry);
  return entries;
}

}  // namespace suture::io
