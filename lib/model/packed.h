// SPDX-License-Identifier: Apache-2.0
// Weights of a folder that are stored in fewer bits with scales beside them: FP8 (`x.weight` with `x.weight_scale_inv`
// or `x.weight_scale`) and MXFP4 experts (`x_blocks` with `x_scales`). Seen from outside there is one bf16 tensor `x`.
// Private to lib/model.
#pragma once
#include <map>
#include <optional>
#include <set>

#include "core/json.h"
#include "io/fp8.h"
#include "io/tensor_folder.h"

namespace suture::model {

class PackedWeights {
 public:
  // Error(kFile) when an FP8 weight has no scale, or blocks have no scales.
  PackedWeights(const io::TensorFolder& folder, const Json& config);

  bool empty() const { return packed_.empty(); }
  bool has(const std::string& name) const { return packed_.contains(name); }
  bool hides(const std::string& stored) const { return hidden_.contains(stored); }  // a part of a packed weight
  std::vector<std::string> names() const;
  std::string dtype(const std::string& name) const;
  std::vector<int64_t> shape(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;  // unpacked, bf16

 private:
  struct Parts {
    std::string values, scales;
    bool mxfp4 = false;
  };
  void add_fp8(const std::string& name);
  void add_mxfp4(const std::string& blocks);
  const Parts& parts(const std::string& name) const { return packed_.at(name); }

  const io::TensorFolder& folder_;
  io::Fp8Block block_;
  std::map<std::string, Parts> packed_;
  std::set<std::string> hidden_;
};

// Whether PackedWeights reads the format that a quantization_config names.
bool unpacks(const Json& quantization_config);

}  // namespace suture::model
