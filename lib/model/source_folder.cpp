// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "io/tensor_folder.h"
#include "model/packed.h"
#include "model/source.h"

namespace suture::model {
namespace {

class FolderSource : public Source {
 public:
  explicit FolderSource(const fs::path& folder)
      : folder_(folder), tensors_(io::TensorFolder::open(folder)), packed_(tensors_, stored_config()) {}

  // Of the unpacked weights, when some are packed.
  Json config_json() const override {
    Json json = stored_config();
    if (!packed_.empty() && unpacks(json.value("quantization_config", Json()))) json.erase("quantization_config");
    return json;
  }
  bool packed() const override { return !packed_.empty(); }
  text::TextAssets text() const override { return text::read_text_assets(folder_); }
  std::vector<int32_t> stop_ids() const override {
    std::vector<int32_t> ids = token_ids(config_json(), "eos_token_id");
    if (fs::exists(folder_ / "generation_config.json"))
      for (const int32_t id : token_ids(read_json(folder_ / "generation_config.json", Code::kModel), "eos_token_id"))
        ids.push_back(id);
    return ids;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all = tensors_.names();
    std::erase_if(all, [&](const std::string& name) { return packed_.hides(name); });
    for (const std::string& name : packed_.names()) all.push_back(name);
    return all;
  }
  bool has(const std::string& name) const override {
    return packed_.has(name) || (tensors_.has(name) && !packed_.hides(name));
  }
  at::Tensor tensor(const std::string& name) const override {
    return packed_.has(name) ? packed_.tensor(name) : tensors_.tensor(name);
  }
  std::string dtype(const std::string& name) const override {
    return packed_.has(name) ? packed_.dtype(name) : tensors_.info(name).dtype;
  }
  std::vector<int64_t> shape(const std::string& name) const override {
    return packed_.has(name) ? packed_.shape(name) : tensors_.info(name).shape;
  }
  uint64_t bytes() const override { return tensors_.total_bytes(); }
  std::vector<fs::path> weight_files() const override {
    std::set<fs::path> files;
    for (const std::string& name : tensors_.names()) files.insert(tensors_.file_of(name));
    return {files.begin(), files.end()};
  }
  std::map<std::string, std::string> text_files() const override {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string extension = entry.path().extension();
      const bool is_text = extension == ".json" || extension == ".jinja" || extension == ".txt" ||
                           entry.path().filename() == "tokenizer.model";
      if (entry.is_regular_file() && is_text && !entry.path().filename().string().ends_with(".index.json"))
        files[entry.path().filename().string()] = read_text(entry.path(), Code::kModel);
    }
    if (packed()) files["config.json"] = to_text(config_json());
    return files;
  }
  void forget_pages() const override {
    for (const auto& shard : tensors_.shards()) shard->forget_pages();
  }

 private:
  Json stored_config() const { return read_json(folder_ / "config.json", Code::kModel); }

  fs::path folder_;
  io::TensorFolder tensors_;
  PackedWeights packed_;
};

}  // namespace

std::unique_ptr<Source> open_folder_source(const fs::path& folder) {
  if (!fs::exists(folder / "config.json"))
    fail(Code::kModel, "cannot open model {}: it has no config.json", folder.string());
  return std::make_unique<FolderSource>(folder);
}

}  // namespace suture::model
