// SPDX-License-Identifier: Apache-2.0
#include "model/checkpoint.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "core/temp_folder.h"
#include "io/safetensors.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using test::error_of;

// A copy of a fixture in which some tensors are left out, replaced or added.
class Damaged : public ::testing::Test {
 protected:
  Error error_with(const std::string& model, const std::map<std::string, at::Tensor>& change,
                   const std::string& removed = "") {
    const Checkpoint source = Checkpoint::open(fixtures::root() / "models" / model);
    const std::vector<std::string> names = source.tensor_names();
    std::vector<io::NamedBytes> tensors;
    for (const std::string& name : names)
      if (name != removed)
        tensors.push_back(io::named_bytes(name, change.contains(name) ? change.at(name) : source.tensor(name)));
    for (const auto& [name, tensor] : change)
      if (std::find(names.begin(), names.end(), name) == names.end()) tensors.push_back(io::named_bytes(name, tensor));
    io::write_safetensors(folder_ / "model.safetensors", tensors);
    fs::copy_file(source.path() / "config.json", folder_ / "config.json", fs::copy_options::overwrite_existing);
    return error_of([&] { Checkpoint::open(folder_.path()); });
  }
  std::string shown() const { return folder_.path().string(); }
  test::TempFolder folder_;
};

TEST_F(Damaged, AnUnchangedCopyOpens) { EXPECT_EQ(error_with("llama-gqa", {}).code(), Code::kDone); }

TEST_F(Damaged, NamesAMissingTensor) {
  const Error error = error_with("llama-gqa", {}, "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(error.code(), Code::kFile);
  EXPECT_EQ(error.what(), "cannot load " + shown() + ": tensor 'model.layers.1.mlp.up_proj.weight' is missing");
}

TEST_F(Damaged, NamesATensorOfAnotherShape) {
  const Error error = error_with("llama-gqa", {{"model.layers.2.self_attn.k_proj.weight", at::zeros({32, 32})}});
  EXPECT_EQ(error.code(), Code::kFile);
  EXPECT_EQ(error.what(),
            "cannot load " + shown() +
                ": tensor 'model.layers.2.self_attn.k_proj.weight' has shape [32, 32], config.json asks for [16, 32]");
}

TEST_F(Damaged, NamesATransposedTensorOfTheOtherLayout) {
  const Error error = error_with("gpt2", {{"transformer.h.0.mlp.c_proj.weight", at::zeros({16, 48})}});
  EXPECT_EQ(error.what(),
            "cannot load " + shown() +
                ": tensor 'transformer.h.0.mlp.c_proj.weight' has shape [16, 48], config.json asks for [48, 16]");
}

TEST_F(Damaged, NamesATensorThatNothingUses) {
  const Error error = error_with("llama-gqa", {{"model.layers.0.self_attn.q_norm.weight", at::zeros({8})},
                                               {"model.layers.1.self_attn.q_norm.weight", at::zeros({8})}});
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_EQ(error.what(), "cannot load " + shown() +
                              ": 2 tensors of the file are not used by this model type, the first is "
                              "'model.layers.0.self_attn.q_norm.weight'");
}

TEST_F(Damaged, ABiasThatTheConfigDoesNotAnnounceIsRefused) {
  EXPECT_EQ(error_with("llama-gqa", {{"model.layers.0.mlp.down_proj.bias", at::zeros({32})}}).code(), Code::kModel);
}

TEST_F(Damaged, BuffersThatAreRecomputedAreLeftAlone) {
  EXPECT_EQ(error_with("gpt2", {{"transformer.h.0.attn.bias", at::zeros({1, 1, 4, 4})}}).code(), Code::kDone);
  EXPECT_EQ(error_with("llama-gqa", {{"model.layers.1.self_attn.rotary_emb.inv_freq", at::zeros({4})}}).code(),
            Code::kDone);
}

TEST_F(Damaged, ATiedModelMayStoreItsHeadToo) {
  EXPECT_EQ(error_with("llama-tied", {{"lm_head.weight", at::zeros({112, 32})}}).code(), Code::kDone);
}

TEST(Checkpoint, RefusesWhatIsNoModel) {
  test::TempFolder folder;
  EXPECT_EQ(error_of([&] { Checkpoint::open(folder / "absent"); }).code(), Code::kModel);
  EXPECT_EQ(error_of([&] { Checkpoint::open(folder.path()); }).what(),
            "cannot open model " + folder.path().string() + ": it has no config.json");
  write_atomically(folder / "model.bin", "x");
  EXPECT_EQ(error_of([&] { Checkpoint::open(folder / "model.bin"); }).what(),
            "cannot open model " + (folder / "model.bin").string() + ": it is neither a folder nor a .gguf file");
}

TEST(Checkpoint, LogicalWeightsAreOutByInWhateverTheLayout) {
  const Checkpoint gpt2 = Checkpoint::open(fixtures::root() / "models" / "gpt2");
  EXPECT_EQ(gpt2.tensor_name({Part::kK, 1}), "transformer.h.1.attn.c_attn.weight");
  const at::Tensor file = gpt2.tensor("transformer.h.1.attn.c_attn.weight");  // [in, 3 out]
  EXPECT_TRUE(gpt2.weight({Part::kQ, 1}).equal(file.narrow(1, 0, 16).t()));
  EXPECT_TRUE(gpt2.weight({Part::kK, 1}).equal(file.narrow(1, 16, 16).t()));
  EXPECT_TRUE(gpt2.weight({Part::kVBias, 1}).equal(gpt2.tensor("transformer.h.1.attn.c_attn.bias").narrow(0, 32, 16)));
  EXPECT_EQ(gpt2.weight({Part::kDown, 0}).sizes(), (std::vector<int64_t>{16, 48}));
  EXPECT_FALSE(gpt2.has({Part::kGate, 0}));
  const Error error = error_of([&] { gpt2.tensor_name({Part::kGate, 0}); });
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_EQ(error.what(), "cannot find weight layers.0.mlp.gate in " + gpt2.path().string());
}

TEST(Checkpoint, FoldersAndFilesSayWhatTheyHold) {
  const Checkpoint bf16 = Checkpoint::open(fixtures::root() / "models" / "llama-bf16");
  EXPECT_EQ(bf16.main_dtype(), at::kBFloat16);
  EXPECT_FALSE(bf16.is_gguf());
  const Checkpoint gguf = Checkpoint::open(fixtures::root() / "models" / "llama-gqa.gguf");
  EXPECT_TRUE(gguf.is_gguf());
  EXPECT_EQ(gguf.main_dtype(), at::kFloat);
  EXPECT_EQ(gguf.config_json()["model_type"], "llama");
}

TEST(Checkpoint, DigestTellsCheckpointsApart) {
  const auto digest = [](const std::string& name) {
    return Checkpoint::open(fixtures::root() / "models" / name).digest();
  };
  EXPECT_EQ(digest("llama-gqa").size(), 64U);
  EXPECT_EQ(digest("llama-gqa"), digest("llama-gqa"));
  EXPECT_NE(digest("llama-gqa"), digest("llama-tied"));
  EXPECT_NE(digest("llama-rope-llama3"), digest("llama-old-config"));  // same weights, another config
}

TEST(WeightIdTest, TextReadsBack) {
  for (const WeightId id : {WeightId{Part::kDown, 8}, WeightId{Part::kEmbed, 0}, WeightId{Part::kNormAttnBias, 12},
                            WeightId{Part::kHead, 0}})
    EXPECT_EQ(WeightId::parse(id.text()), id);
  EXPECT_EQ((WeightId{Part::kDown, 8}.text()), "layers.8.mlp.down");
  for (const std::string text : {"", "mlp.down", "layers.mlp.down", "layers.x.mlp.down", "layers.1.mlp",
                                 "layers.1.embed", "layers.01.mlp.down", "layers.1.mlp.down "})
    EXPECT_EQ(error_of([&] { WeightId::parse(text); }).code(), Code::kData) << text;
}

}  // namespace
}  // namespace suture::model
