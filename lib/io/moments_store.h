// SPDX-License-Identifier: Apache-2.0
// Second moments of one model, kept between runs, in one HDF5 file (FORMATS.md, schema "suture.moments").
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "tensor/moments.h"

namespace suture::io {

struct MomentsKey {
  std::string model_digest;
  int64_t layer = 0;
  std::string data_digest;
  int64_t tokens = 0;  // rows that were added
  bool operator==(const MomentsKey&) const = default;
};

struct MomentsEntry {
  MomentsKey key;
  int64_t width = 0;
  Json provenance = Json::object();
};

// Nothing when the file is absent or holds no such entry. Error kData, naming both values, when the file is of another
// model (whatever the shapes), or the entry's width is not `width` (0: any).
std::optional<tensor::SecondMoment> find_moments(const fs::path& path, const MomentsKey& key, int64_t width = 0);

// Adds or replaces the entry of `key`; the file is written anew and swapped in one step, other entries copied.
// Refuses another model's file and another width of the same layer. One writer at a time.
void put_moments(const fs::path& path, const MomentsKey& key, const tensor::SecondMoment& moment,
                 const Json& provenance);

std::vector<MomentsEntry> list_moments(const fs::path& path);  // empty when the file is absent

}  // namespace suture::io
