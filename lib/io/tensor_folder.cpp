// SPDX-License-Identifier: Apache-2.0
#include "io/tensor_folder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "io/torch_file.h"
#include "tensor/dtype.h"

namespace suture::io {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kPickledSingle = "pytorch_model.bin";
constexpr const char* kPickledIndex = "pytorch_model.bin.index.json";

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

std::string joined(const auto& names) {
  std::string list;
  for (const std::string& name : names) list.append(list.empty() ? "" : ", ").append(name);
  return list;
}

void require_plain_name(const fs::path& index, const std::string& shard) {
  if (shard.empty() || shard == "." || shard == ".." || shard.find_first_of("/\\") != std::string::npos)
    fail(Code::kFile, "cannot read {}: weight_map names shard '{}': expected a file name without folders",
         index.string(), shard);
}

WeightMap read_weight_map(const fs::path& index) {
  const Json json = read_json(index, Code::kFile);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail(Code::kFile, "cannot read {}: it has no 'weight_map' object", index.string());
  WeightMap map;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    if (!shard.is_string()) fail(Code::kFile, "cannot read {}: weight_map of '{}' is not a text", index.string(), name);
    require_plain_name(index, shard.get<std::string>());
    map[name] = shard.get<std::string>();
  }
  if (map.empty()) fail(Code::kFile, "cannot read {}: weight_map is empty", index.string());
  return map;
}

void require_all_shards(const fs::path& folder, const std::set<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards)
    if (!fs::exists(folder / shard)) missing.push_back(shard);
  if (!missing.empty())
    fail(Code::kFile, "cannot read {}: {} of {} shards missing: {}", folder.string(), missing.size(), shards.size(),
         joined(missing));
}

[[noreturn]] void no_weights(const fs::path& folder) {
  if (!fs::is_directory(folder)) fail(Code::kModel, "cannot load {}: it is not a folder", folder.string());
  fail(Code::kModel, "cannot load {}: it has none of {}, {}, {} and {}", folder.string(), kSingle, kIndex,
       kPickledSingle, kPickledIndex);
}

bool is_other_weights(const fs::path& file) {
  static const std::set<std::string> kExtensions = {".safetensors", ".bin", ".gguf",    ".pt",   ".pth",
                                                    ".ckpt",        ".h5",  ".msgpack", ".onnx", ".npz"};
  return kExtensions.contains(file.extension().string()) || file.filename().string().ends_with(".index.json");
}

// What a shard of the source becomes.
struct ShardPlan {
  std::string file;  // name of the one to write
  std::shared_ptr<const TensorFile> source;
  std::vector<NamedBytes> tensors;
  bool touched = false;
};

NamedBytes checked_replacement(const TensorInfo& info, const at::Tensor& tensor) {
  if (tensor::find_file_dtype(info.dtype) != tensor.scalar_type() || tensor.sizes() != at::IntArrayRef(info.shape))
    fail(Code::kBug, "cannot replace tensor '{}' of {} {} by {} {}", info.name, info.dtype, Json(info.shape).dump(),
         c10::toString(tensor.scalar_type()), Json(tensor.sizes().vec()).dump());
  return named_bytes(info.name, tensor);
}

NamedBytes stored_bytes(const std::shared_ptr<const TensorFile>& file, const TensorInfo& info) {
  return {info.name, info.dtype, info.shape, [file, &info](const ByteSink& sink) { sink(file->bytes(info.name)); }};
}

// Does config.json say that the head is a tensor of its own?
bool untied(const fs::path& folder) {
  if (!fs::exists(folder / "config.json")) return false;
  const Json config = read_json(folder / "config.json", Code::kModel);
  return config.is_object() && config.contains("tie_word_embeddings") && config["tie_word_embeddings"] == false;
}

// Names of a pickled source that share the tensor of another one, and need no copy of their own.
std::set<std::string> shared_names(const TensorFolder& source, const FolderChange& change) {
  std::set<std::string> shared;
  if (!source.pickled() || untied(source.path())) return shared;
  for (const auto& shard : source.shards()) {
    std::set<std::string> kept;  // first aliases whose bytes are written, under one name or another
    for (const TensorInfo& info : shard->tensors()) {
      if (change.removed.contains(info.name) || change.tensors.contains(info.name)) continue;
      if (!kept.insert(shard->first_alias(info.name)).second) shared.insert(info.name);
    }
    for (const auto& [name, tensor] : change.tensors)
      if (shard->find(name) != nullptr)
        std::erase_if(shared, [&](const std::string& other) {
          return shard->find(other) != nullptr && shard->first_alias(other) == shard->first_alias(name);
        });
  }
  return shared;
}

ShardPlan plan_shard(const std::shared_ptr<const TensorFile>& shard, const FolderChange& change,
                     const std::set<std::string>& left_out) {
  ShardPlan plan{shard->path().filename().string(), shard, {}};
  for (const TensorInfo& info : shard->tensors()) {
    const auto changed = change.tensors.find(info.name);
    const bool removed = change.removed.contains(info.name);
    plan.touched = plan.touched || removed || changed != change.tensors.end();
    if (removed || left_out.contains(info.name)) continue;
    plan.tensors.push_back(changed == change.tensors.end() ? stored_bytes(shard, info)
                                                           : checked_replacement(info, changed->second));
  }
  return plan;
}

// One safetensors file of all shards of a pickled source.
std::vector<ShardPlan> joined_plan(std::vector<ShardPlan> plans) {
  ShardPlan whole{kSingle, plans.front().source, {}, true};
  for (ShardPlan& plan : plans) std::ranges::move(plan.tensors, std::back_inserter(whole.tensors));
  return {std::move(whole)};
}

std::vector<ShardPlan> plan_shards(const TensorFolder& source, const FolderChange& change,
                                   const std::set<std::string>& left_out) {
  std::vector<ShardPlan> plans;
  for (const auto& shard : source.shards()) plans.push_back(plan_shard(shard, change, left_out));
  if (source.pickled()) plans = joined_plan(std::move(plans));
  for (const auto& [name, tensor] : change.tensors) {
    if (source.has(name)) continue;
    plans.back().tensors.push_back(named_bytes(name, tensor));
    plans.back().touched = true;
  }
  if (plans.size() > 1) std::erase_if(plans, [](const ShardPlan& plan) { return plan.tensors.empty(); });
  return plans;
}

void check_change(const TensorFolder& source, const FolderChange& change) {
  for (const std::string& name : change.removed)
    if (!source.has(name) || change.tensors.contains(name))
      fail(Code::kBug, "cannot remove tensor '{}' from {}: it is absent or also changed", name, source.path().string());
  for (const auto& [file, text] : change.files)
    if (fs::path(file).filename() != file || is_other_weights(file))
      fail(Code::kBug, "cannot write file '{}': expected the plain name of a text file", file);
}

bool names_changed(const TensorFolder& source, const FolderChange& change) {
  return !change.removed.empty() || std::any_of(change.tensors.begin(), change.tensors.end(),
                                                [&](const auto& item) { return !source.has(item.first); });
}

void write_index(const fs::path& path, Json index,
                 const std::vector<std::pair<std::string, std::vector<std::string>>>& shards, uint64_t total_bytes) {
  index["metadata"]["total_size"] = total_bytes;
  WeightMap map;
  for (const auto& [shard, names] : shards)
    for (const std::string& name : names) map[name] = shard;
  index["weight_map"] = map;
  write_atomically(path, to_text(index));
}

void rewrite_index(const TensorFolder& source, const fs::path& destination) {
  std::vector<std::pair<std::string, std::vector<std::string>>> shards;
  uint64_t total = 0;
  std::set<std::string> before;
  for (const auto& [name, shard] : read_weight_map(source.path() / kIndex)) before.insert(shard);
  for (const std::string& shard : before) {
    if (!fs::exists(destination / shard)) continue;
    auto& row = shards.emplace_back(shard, std::vector<std::string>{});
    const auto written = SafetensorsFile::open(destination / shard);
    for (const TensorInfo& info : written->tensors()) {
      row.second.push_back(info.name);
      total += info.size();
    }
  }
  write_index(destination / kIndex, read_json(source.path() / kIndex, Code::kFile), shards, total);
}

void copy_plain(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) fail(Code::kResource, "cannot copy {} to {}: {}", from.string(), to.string(), error.message());
}

void copy_other_files(const TensorFolder& source, const FolderChange& change, const fs::path& destination) {
  std::set<fs::path> weights;
  if (source.sharded()) weights.insert(source.pickled() ? kPickledIndex : kIndex);
  for (const auto& shard : source.shards()) weights.insert(shard->path().filename());
  const bool changed = !change.tensors.empty() || !change.removed.empty();
  for (const auto& entry : fs::directory_iterator(source.path())) {
    const fs::path name = entry.path().filename();
    if (!entry.is_regular_file() || weights.contains(name)) continue;
    if (change.files.contains(name.string()) || change.left_out.contains(name.string())) continue;
    if (changed && is_other_weights(name))
      spdlog::warn("left out {}: it holds the weights before the change", entry.path().string());
    else
      copy_plain(entry.path(), destination / name);
  }
  for (const auto& [name, text] : change.files) write_atomically(destination / name, text);
}

void verify_rewrite(const TensorFolder& source, const FolderChange& change, const std::set<std::string>& left_out,
                    const fs::path& destination) {
  const TensorFolder written = TensorFolder::open(destination);
  std::set<std::string> expected;
  for (const std::string& name : source.names())
    if (!change.removed.contains(name) && !left_out.contains(name)) expected.insert(name);
  for (const auto& [name, tensor] : change.tensors) expected.insert(name);
  const auto names = written.names();
  if (std::set<std::string>(names.begin(), names.end()) != expected)
    fail(Code::kBug, "cannot write {}: it has {} tensors, {} were intended", destination.string(), names.size(),
         expected.size());
  for (const std::string& name : names) {
    if (change.tensors.contains(name) || fs::equivalent(source.file_of(name), written.file_of(name))) continue;
    const auto before = source.bytes(name), after = written.bytes(name);
    if (!std::equal(before.begin(), before.end(), after.begin(), after.end()))
      fail(Code::kResource, "cannot write {}: unchanged tensor '{}' was read back with other bytes",
           destination.string(), name);
  }
}

NamedBytes named_bytes(const LazyTensor& tensor) {
  return {tensor.name, tensor::file_spelling(tensor.dtype), tensor.shape, [&tensor](const ByteSink& sink) {
            const at::Tensor made = tensor.produce().detach().cpu().contiguous();
            if (made.scalar_type() != tensor.dtype || made.sizes() != at::IntArrayRef(tensor.shape))
              fail(Code::kBug, "cannot write tensor '{}': it was made as {} {}, announced as {} {}", tensor.name,
                   c10::toString(made.scalar_type()), Json(made.sizes().vec()).dump(), c10::toString(tensor.dtype),
                   Json(tensor.shape).dump());
            sink(tensor_bytes(made));
          }};
}

uint64_t bytes_of(const LazyTensor& tensor) {
  uint64_t bytes = c10::elementSize(tensor.dtype);
  for (const int64_t size : tensor.shape) bytes *= uint64_t(size);
  return bytes;
}

// Consecutive tensors, as many as fit.
std::vector<std::vector<NamedBytes>> split_shards(const std::vector<LazyTensor>& tensors, uint64_t shard_bytes) {
  std::vector<std::vector<NamedBytes>> shards(1);
  uint64_t filled = 0;
  for (const LazyTensor& tensor : tensors) {
    const uint64_t bytes = bytes_of(tensor);
    if (!shards.back().empty() && filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(named_bytes(tensor));
    filled += bytes;
  }
  return shards;
}

}  // namespace

TensorFolder TensorFolder::open(const fs::path& folder) {
  TensorFolder result;
  result.folder_ = folder;
  const auto here = [&](const char* file) { return fs::exists(folder / file); };
  result.pickled_ = !here(kSingle) && !here(kIndex);
  const char* single = result.pickled_ ? kPickledSingle : kSingle;
  const char* index = result.pickled_ ? kPickledIndex : kIndex;
  std::set<std::string> shards = {single};
  WeightMap map;
  if (!here(single)) {
    if (!here(index)) no_weights(folder);
    result.sharded_ = true;
    map = read_weight_map(folder / index);
    shards.clear();
    for (const auto& [name, shard] : map) shards.insert(shard);
  }
  require_all_shards(folder, shards);
  for (const std::string& shard : shards) result.add_shard(shard, map);
  for (const auto& [name, shard] : map)
    if (!result.has(name))
      fail(Code::kFile, "cannot read {}: the index places tensor '{}' in {}, which does not hold it", folder.string(),
           name, shard);
  return result;
}

void TensorFolder::add_shard(const std::string& shard, const std::map<std::string, std::string>& weight_map) {
  std::shared_ptr<const TensorFile> file;
  if (pickled_)
    file = TorchFile::open(folder_ / shard);
  else
    file = SafetensorsFile::open(folder_ / shard);
  for (const TensorInfo& info : file->tensors()) {
    if (const auto home = weight_map.find(info.name); sharded_ && (home == weight_map.end() || home->second != shard))
      fail(Code::kFile, "cannot read {}: shard {} holds tensor '{}', which the index {}", folder_.string(), shard,
           info.name, home == weight_map.end() ? "does not list" : "places in " + home->second);
    home_[info.name] = shards_.size();
  }
  shards_.push_back(std::move(file));
}

std::vector<std::string> TensorFolder::names() const {
  std::vector<std::string> names;
  for (const auto& shard : shards_)
    for (const TensorInfo& info : shard->tensors()) names.push_back(info.name);
  return names;
}

uint64_t TensorFolder::total_bytes() const {
  uint64_t total = 0;
  for (const auto& shard : shards_)
    for (const TensorInfo& info : shard->tensors())
      if (shard->first_alias(info.name) == info.name) total += info.size();
  return total;
}

const TensorFile& TensorFolder::file(const std::string& name) const {
  const auto home = home_.find(name);
  if (home == home_.end()) fail(Code::kModel, "cannot find tensor '{}' in {}", name, folder_.string());
  return *shards_[home->second];
}

void rewrite_folder(const fs::path& source_path, const FolderChange& change, const fs::path& destination) {
  const TensorFolder source = TensorFolder::open(source_path);
  check_change(source, change);
  const std::set<std::string> left_out = shared_names(source, change);
  for (const ShardPlan& plan : plan_shards(source, change, left_out)) {
    const fs::path target = destination / plan.file;
    if (plan.touched)
      write_safetensors(target, plan.tensors, plan.source->metadata());
    else
      link_or_copy(plan.source->path(), target);
  }
  if (source.sharded() && !source.pickled()) {
    if (names_changed(source, change))
      rewrite_index(source, destination);
    else
      copy_plain(source_path / kIndex, destination / kIndex);
  }
  copy_other_files(source, change, destination);
  verify_rewrite(source, change, left_out, destination);
}

void write_folder(const std::vector<LazyTensor>& tensors, const std::map<std::string, std::string>& files,
                  const fs::path& destination, uint64_t shard_bytes) {
  const auto shards = split_shards(tensors, shard_bytes);
  std::vector<std::pair<std::string, std::vector<std::string>>> index;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? kSingle : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(destination / name, shards[i]);
    auto& row = index.emplace_back(name, std::vector<std::string>{});
    for (const NamedBytes& tensor : shards[i]) row.second.push_back(tensor.name);
  }
  uint64_t total = 0;
  for (const LazyTensor& tensor : tensors) total += bytes_of(tensor);
  if (shards.size() > 1) write_index(destination / kIndex, Json::object(), index, total);
  for (const auto& [name, text] : files) write_atomically(destination / name, text);
}

void write_folder(const std::vector<std::pair<std::string, std::function<at::Tensor()>>>& tensors,
                  const std::map<std::string, std::string>& files, const fs::path& destination, uint64_t shard_bytes) {
  std::vector<LazyTensor> lazy;
  for (const auto& [name, produce] : tensors) {
    const at::Tensor first = produce();
    lazy.push_back({name, first.scalar_type(), first.sizes().vec(), produce});
  }
  write_folder(lazy, files, destination, shard_bytes);
}

}  // namespace suture::io
