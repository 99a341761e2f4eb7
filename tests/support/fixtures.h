// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoints and what transformers computed with them (tests/oracle/make_model_fixtures.py).
#pragma once
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"
#include "io/safetensors.h"
#include "model/transformer.h"

namespace suture::fixtures {

inline fs::path root() { return fs::path(SUTURE_SOURCE_DIR) / "tests" / "fixtures"; }

struct Expected {
  std::shared_ptr<const io::SafetensorsFile> tensors;
  Json json;

  explicit Expected(const std::string& name)
      : tensors(io::SafetensorsFile::open(root() / "expected" / (name + ".safetensors"))),
        json(read_json(root() / "expected" / (name + ".json"))) {}
  at::Tensor get(const std::string& name) const { return tensors->tensor(name); }
  bool has(const std::string& name) const { return tensors->find(name) != nullptr; }
  std::vector<int32_t> ids(const std::string& name) const {
    const at::Tensor t = get(name);
    std::vector<int32_t> out;
    for (int64_t i = 0; i < t.numel(); ++i) out.push_back(int32_t(t.const_data_ptr<int64_t>()[i]));
    return out;
  }
};

inline model::Transformer load(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return model::Transformer::load(model::Checkpoint::open(root() / "models" / name), {dtype, at::kCPU});
}

// Every folder that the oracle script ran and whose stored weights are fp32, by name. `tensor`: only those for which it
// was recorded.
inline std::vector<std::string> models(const std::string& tensor = "logits.33") {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(root() / "expected")) {
    const std::string name = entry.path().stem();
    if (entry.path().extension() != ".json" || !fs::is_directory(root() / "models" / name)) continue;
    const Expected expected(name);
    if (expected.json.value("dtype", "float32") == "float32" && name.find("bf16") == std::string::npos &&
        expected.has(tensor))
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A fixture's name as a test's.
inline std::string test_name(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
}

inline double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace suture::fixtures
