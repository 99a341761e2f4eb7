// SPDX-License-Identifier: Apache-2.0
#include "model/packed.h"

#include "io/mxfp4.h"

namespace suture::model {
namespace {

constexpr std::string_view kBlocks = "_blocks", kScales = "_scales";

std::shared_ptr<const io::TensorFile> shard_of(const io::TensorFolder& folder, const std::string& name) {
  for (const auto& shard : folder.shards())
    if (shard->find(name) != nullptr) return shard;
  fail(Code::kBug, "no shard holds '{}'", name);
}

}  // namespace

bool unpacks(const Json& config) {
  const std::string method = config.is_object() ? config.value("quant_method", "") : "";
  return method == "fp8" || method == "mxfp4";
}

PackedWeights::PackedWeights(const io::TensorFolder& folder, const Json& config) : folder_(folder) {
  const Json quantised = config.value("quantization_config", Json::object());
  if (const auto size = quantised.find("weight_block_size");
      size != quantised.end() && size->is_array() && size->size() == 2)
    block_ = {(*size)[0].get<int64_t>(), (*size)[1].get<int64_t>()};
  for (const std::string& name : folder.names()) {
    if (io::is_fp8(folder.info(name).dtype) && folder.info(name).shape.size() >= 2) add_fp8(name);
    if (name.ends_with(kBlocks) && folder.info(name).dtype == "U8") add_mxfp4(name);
  }
}

void PackedWeights::add_fp8(const std::string& name) {
  for (const char* ending : {"_scale_inv", "_scale"})
    if (folder_.has(name + ending)) {
      packed_[name] = {name, name + ending, false};
      hidden_.insert(name + ending);
      break;
    }
  if (!packed_.contains(name))
    fail(Code::kFile, "cannot load {}: FP8 tensor '{}' has no scale ('{}_scale_inv')", folder_.path().string(), name,
         name);
  const std::string activations = name.substr(0, name.rfind('.') + 1) + "input_scale";
  if (folder_.has(activations)) hidden_.insert(activations);  // for arithmetic in FP8, which is not done here
}

void PackedWeights::add_mxfp4(const std::string& blocks) {
  const std::string name = blocks.substr(0, blocks.size() - kBlocks.size());
  const std::string scales = name + std::string(kScales);
  if (!folder_.has(scales))
    fail(Code::kFile, "cannot load {}: tensor '{}' has no '{}'", folder_.path().string(), blocks, scales);
  if (folder_.info(blocks).shape.size() != 4)
    fail(Code::kFile, "cannot load {}: tensor '{}' must have four axes", folder_.path().string(), blocks);
  packed_[name] = {blocks, scales, true};
  hidden_.insert({blocks, scales});
}

std::vector<std::string> PackedWeights::names() const {
  std::vector<std::string> all;
  for (const auto& [name, parts] : packed_)
    if (parts.mxfp4) all.push_back(name);  // FP8 weights keep the name that they are stored under
  return all;
}

std::string PackedWeights::dtype(const std::string& name) const {
  return parts(name).mxfp4 ? "MXFP4" : folder_.info(name).dtype;
}

std::vector<int64_t> PackedWeights::shape(const std::string& name) const {
  if (!parts(name).mxfp4) return folder_.info(name).shape;
  const std::vector<int64_t>& stored = folder_.info(parts(name).values).shape;  // [E, out, groups, 16 bytes]
  return {stored[0], stored[2] * stored[3] * 2, stored[1]};
}

at::Tensor PackedWeights::tensor(const std::string& name) const {
  const Parts& p = parts(name);
  if (p.mxfp4) return io::dequantise_mxfp4(name, folder_.tensor(p.values), folder_.tensor(p.scales));
  return io::dequantise_fp8(name, io::fp8_tensor(shard_of(folder_, name), name), folder_.tensor(p.scales), block_);
}

}  // namespace suture::model
