// SPDX-License-Identifier: Apache-2.0
// Folders with packed or pickled weights (tests/oracle/make_packed_models.py).
#include "model/packed.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using fixtures::max_difference;
using test::error_of;

fs::path folder(const std::string& name) { return fixtures::root() / "models" / name; }

at::Tensor expected(const std::string& name) {
  return io::SafetensorsFile::open(fixtures::root() / "expected" / "packed.safetensors")->tensor(name).clone();
}

std::vector<int32_t> ids() {
  std::vector<int32_t> all;
  const at::Tensor stored = expected("ids");
  for (int64_t i = 0; i < stored.numel(); ++i) all.push_back(int32_t(stored.const_data_ptr<int64_t>()[i]));
  return all;
}

fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(::testing::TempDir()) / ("packed-" + name);
  fs::remove_all(path);
  fs::create_directories(path);
  return path;
}

class EveryPacking : public ::testing::TestWithParam<std::string> {};

// The unpacked weights are the same bf16 numbers, so only the order of fp32 sums differs.
TEST_P(EveryPacking, LogitsEqualTransformersOnTheUnpackedWeights) {
  const at::NoGradGuard no_grad;
  const Transformer model = fixtures::load(GetParam());
  EXPECT_LT(max_difference(model.logits(pad_left({ids()}), nullptr, nullptr)[0], expected(GetParam())), 1e-4);
}

TEST_P(EveryPacking, IsWrittenUnpacked) {
  const at::NoGradGuard no_grad;
  const Checkpoint packed = Checkpoint::open(folder(GetParam()));
  const fs::path out = fresh(GetParam());
  write_checkpoint(packed, {}, out);
  const Json config = read_json(out / "config.json");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config.at("dtype"), "bfloat16");
  const Checkpoint written = Checkpoint::open(out);
  EXPECT_FALSE(written.is_packed());
  for (const std::string& name : written.tensor_names()) {
    EXPECT_EQ(written.dtype_name(name), "BF16") << name;
    EXPECT_TRUE(written.tensor(name).equal(packed.tensor(name))) << name;
  }
  EXPECT_EQ(written.tensor_names().size(), packed.tensor_names().size());
}

INSTANTIATE_TEST_SUITE_P(Folders, EveryPacking, ::testing::Values("llama-fp8", "gpt-oss-mxfp4"),
                         [](const auto& row) { return fixtures::test_name(row.param); });

TEST(Packed, AWeightWithoutItsScaleIsRefused) {
  const auto file = io::SafetensorsFile::open(folder("llama-fp8") / "model.safetensors");
  const fs::path out = fresh("no-scale");
  fs::copy_file(folder("llama-fp8") / "config.json", out / "config.json");
  // The same file with one scale's name changed in the header: lengths stay.
  std::string bytes = read_text(folder("llama-fp8") / "model.safetensors", Code::kFile);
  const std::string name = "layers.1.mlp.down_proj.weight_scale_inv";
  const size_t at = bytes.find(name);
  ASSERT_NE(at, std::string::npos);
  bytes[at + name.size() - 1] = 'x';
  write_atomically(out / "model.safetensors", bytes);
  const Error error = error_of([&] { Checkpoint::open(out); });
  EXPECT_EQ(error.code(), Code::kFile);
  EXPECT_NE(std::string(error.what()).find("'model.layers.1.mlp.down_proj.weight' has no scale"), std::string::npos)
      << error.what();
}

TEST(Packed, OtherQuantisationsAreRefusedByName) {
  for (const std::string method : {"gptq", "awq", "bitsandbytes", "compressed-tensors", "hqq"}) {
    Json json = read_json(folder("llama-gqa") / "config.json");
    json["quantization_config"] = {{"quant_method", method}};
    const Error error = error_of([&] { read_config(json, "config.json"); });
    EXPECT_EQ(error.code(), Code::kModel);
    EXPECT_NE(std::string(error.what()).find(method), std::string::npos) << error.what();
  }
}

TEST(Pickled, ComputesAndIsWrittenAsTheSafetensorsFolder) {
  const Checkpoint pickled = Checkpoint::open(folder("llama-bin")), plain = Checkpoint::open(folder("llama-gqa"));
  for (const std::string& name : plain.tensor_names())
    EXPECT_TRUE(pickled.tensor(name).equal(plain.tensor(name))) << name;
  const fs::path out = fresh("bin");
  write_checkpoint(pickled, {}, out);
  EXPECT_FALSE(fs::exists(out / "pytorch_model.bin"));
  const Checkpoint written = Checkpoint::open(out);
  for (const std::string& name : plain.tensor_names())
    EXPECT_TRUE(written.tensor(name).equal(plain.tensor(name))) << name;
}

}  // namespace
}  // namespace suture::model
