// SPDX-License-Identifier: Apache-2.0
// The two kinds of checkpoint behind model::Checkpoint. Private to lib/model.
#pragma once
#include <memory>

#include "model/checkpoint.h"

namespace suture::model {

class Source {
 public:
  virtual ~Source() = default;
  virtual Json config_json() const = 0;
  virtual text::TextAssets text() const = 0;
  virtual std::vector<int32_t> stop_ids() const = 0;
  virtual std::vector<std::string> names() const = 0;  // HF names
  virtual bool has(const std::string& name) const = 0;
  virtual at::Tensor tensor(const std::string& name) const = 0;
  virtual std::string dtype(const std::string& name) const = 0;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;
  virtual uint64_t bytes() const = 0;
  virtual std::vector<fs::path> weight_files() const = 0;
  virtual std::map<std::string, std::string> text_files() const = 0;
  virtual void forget_pages() const = 0;
  virtual bool packed() const { return false; }  // whether weights are unpacked on the way out of a folder
};

std::unique_ptr<Source> open_folder_source(const fs::path& folder);
std::unique_ptr<Source> open_gguf_source(const fs::path& file);

std::vector<int32_t> token_ids(const Json& json, const std::string& key);  // an id, a list of ids, or nothing

}  // namespace suture::model
