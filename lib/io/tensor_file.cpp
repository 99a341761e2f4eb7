// SPDX-License-Identifier: Apache-2.0
#include "io/tensor_file.h"

#include "core/error.h"
#include "tensor/dtype.h"

namespace suture::io {

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const TensorInfo& info : tensors_) names.push_back(info.name);
  return names;
}

const TensorInfo* TensorFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& TensorFile::info(const std::string& name) const {
  if (const TensorInfo* found = find(name)) return *found;
  fail(Code::kModel, "cannot find tensor '{}' in {}", name, path().string());
}

const std::map<std::string, std::string>& TensorFile::metadata() const {
  static const std::map<std::string, std::string> kNone;
  return kNone;
}

void TensorFile::add(TensorInfo info) {
  by_name_[info.name] = tensors_.size();
  tensors_.push_back(std::move(info));
}

at::ScalarType TensorFile::dtype_of(const TensorInfo& info) const {
  if (const auto dtype = tensor::find_file_dtype(info.dtype)) return *dtype;
  fail(Code::kModel, "cannot load tensor '{}' of {}: dtype {} is not supported; dequantise the checkpoint first",
       info.name, path().string(), info.dtype);
}

}  // namespace suture::io
