// SPDX-License-Identifier: Apache-2.0
// A baked checkpoint computes what its plan computes at decode time.
#include "model/bake.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "core/temp_folder.h"
#include "model/transformer.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using fixtures::max_difference;
using hook::Site;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Checkpoint open(const std::string& name) { return Checkpoint::open(fixtures::root() / "models" / name); }

hook::Intervention add(Site site, int64_t layer, int64_t width, double scale = 0.5) {
  Stream stream(10, fmt::format("{}/{}", hook::name(site), layer));
  std::vector<float> numbers;
  for (int64_t i = 0; i < width; ++i) numbers.push_back(float(2 * stream.uniform() - 1));
  return {{site, layer}, hook::Where::parse("all"), hook::Action::kAdd, scale, at::tensor(numbers), "v"};
}

class Baking : public ::testing::Test {
 protected:
  // Logits of the written checkpoint against the plan's on the original.
  double difference(const Checkpoint& checkpoint, const hook::Plan& plan, const Baked& baked) {
    write_checkpoint(checkpoint, baked.changes, out_.path());
    const Batch batch = pad_left({{5, 17, 99, 3, 42, 8}, {61, 2, 30}});
    hook::PlanRun run(plan);
    const at::Tensor planned = Transformer::load(checkpoint, {}).last_logits(batch, nullptr, &run);
    const at::Tensor plain = Transformer::load(checkpoint, {}).last_logits(batch, nullptr, nullptr);
    EXPECT_GT(max_difference(planned, plain), 0.01) << "the vector is too weak to test anything";
    return max_difference(Transformer::load(Checkpoint::open(out_.path()), {}).last_logits(batch, nullptr, nullptr),
                          planned);
  }
  at::NoGradGuard no_grad_;
  test::TempFolder out_;
};

// A bias is added inside the projection, a plan's vector after it: fp32 sums in another order, logits of size 10.
constexpr double kFp32 = 1e-4;

TEST_F(Baking, ABlockOutputBecomesABiasOfItsDownProjectionAndZerosElsewhere) {
  const Checkpoint checkpoint = open("llama-gqa");
  const hook::Plan plan{{add(Site::kResidOut, 1, 32)}, {}};
  const Baked baked = bake(checkpoint, plan);
  EXPECT_LT(difference(checkpoint, plan, baked), kFp32);
  EXPECT_THAT(baked.flags, ElementsAre("mlp_bias"));
  EXPECT_THAT(baked.changed, ElementsAre());
  EXPECT_EQ(baked.added.size(), 9U);  // gate, up and down of three layers
  for (const auto& [name, tensor] : baked.changes.tensors) {
    const at::Tensor wanted =
        name == "model.layers.1.mlp.down_proj.bias" ? plan.interventions[0].vector_D * 0.5 : at::zeros_like(tensor);
    EXPECT_TRUE(tensor.equal(wanted)) << name;
  }
  const Checkpoint written = Checkpoint::open(out_.path());
  EXPECT_TRUE(written.config().mlp_bias);
  EXPECT_FALSE(written.config().attention_bias);
  EXPECT_EQ(written.config_json()["hidden_size"], 32);  // the rest of config.json is kept
}

TEST_F(Baking, SeveralVectorsAddUp) {
  const Checkpoint checkpoint = open("llama-gqa");
  const hook::Plan plan{{add(Site::kResidOut, 1, 32), add(Site::kMlpOut, 1, 32, -0.25), add(Site::kAttnOut, 0, 32)},
                        {}};
  const Baked baked = bake(checkpoint, plan);
  EXPECT_THAT(baked.flags, ElementsAre("mlp_bias", "attention_bias"));
  EXPECT_LT(difference(checkpoint, plan, baked), kFp32);
}

TEST_F(Baking, AnExistingBiasIsAddedTo) {
  const Checkpoint checkpoint = open("llama-bias");
  const hook::Plan plan{{add(Site::kResidOut, 2, 32), add(Site::kAttnOut, 1, 32)}, {}};
  const Baked baked = bake(checkpoint, plan);
  EXPECT_TRUE(baked.flags.empty());
  EXPECT_TRUE(baked.added.empty());
  EXPECT_THAT(baked.changed, ElementsAre("model.layers.2.mlp.down_proj.bias", "model.layers.1.self_attn.o_proj.bias"));
  EXPECT_TRUE(baked.changes.files.empty());
  EXPECT_LT(difference(checkpoint, plan, baked), kFp32);
}

TEST_F(Baking, Gpt2HasItsBiases) {
  const Checkpoint checkpoint = open("gpt2");
  const hook::Plan plan{{add(Site::kResidOut, 1, 16), add(Site::kAttnOut, 0, 16)}, {}};
  const Baked baked = bake(checkpoint, plan);
  EXPECT_THAT(baked.changed, ElementsAre("transformer.h.1.mlp.c_proj.bias", "transformer.h.0.attn.c_proj.bias"));
  EXPECT_LT(difference(checkpoint, plan, baked), kFp32);
}

TEST_F(Baking, AGgufSourceBecomesAFolderWithTheBias) {
  for (const std::string name : {"llama-gqa.gguf"}) {
    const Checkpoint checkpoint = open(name);
    const hook::Plan plan{{add(Site::kResidOut, 1, 32)}, {}};
    EXPECT_LT(difference(checkpoint, plan, bake(checkpoint, plan)), kFp32);
  }
}

class Refusal : public ::testing::Test {
 protected:
  void expect(const std::string& model, const hook::Plan& plan, Code code, const std::string& message) {
    const Error error = error_of([&] { bake(open(model), plan); });
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(std::string(error.what()), message);
  }
  hook::Plan plan_{{add(Site::kResidOut, 1, 32)}, {}};
  const std::string instead_ = "keep it as a plan for decode time (suture generate --plan)";
};

TEST_F(Refusal, AFamilyWithoutBiases) {
  expect("mistral", plan_, Code::kModel,
         "cannot bake 'v' at resid_out: model type 'mistral' has no bias there (this class has no bias to hold a "
         "constant vector); " +
             instead_);
}

TEST_F(Refusal, AGate) {
  plan_.gate = hook::Gate{{Site::kResidOut, 0}, plan_.interventions[0].vector_D, 0, 0, "g"};
  expect("llama-gqa", plan_, Code::kModel,
         "cannot bake: the plan has a gate, and a bias acts on every prompt; " + instead_);
}

TEST_F(Refusal, TokensOtherThanAll) {
  plan_.interventions[0].where = hook::Where::parse("last");
  expect(
      "llama-gqa", plan_, Code::kModel,
      "cannot bake 'v': a bias acts on all tokens, the plan on 'last'; set tokens: all to mean that, or " + instead_);
}

TEST_F(Refusal, ActionsOtherThanAdd) {
  plan_.interventions[0].action = hook::Action::kProjectOut;
  expect("llama-gqa", plan_, Code::kModel, "cannot bake 'v': a bias can add a vector, not project_out; " + instead_);
}

TEST_F(Refusal, SitesWithoutABias) {
  for (const Site site : {Site::kHeadOut, Site::kMlpKey, Site::kFinalNorm, Site::kEmbed}) {
    plan_.interventions[0].at.site = site;
    const Error error = error_of([&] { bake(open("llama-gqa"), plan_); });
    EXPECT_EQ(error.code(), Code::kModel);
    EXPECT_THAT(error.what(), HasSubstr(fmt::format("cannot bake 'v' at {}: model type 'llama' has no bias there",
                                                    hook::name(site))));
  }
}

TEST_F(Refusal, NothingToBake) { expect("llama-gqa", {}, Code::kConfig, "cannot bake: the plan has no interventions"); }

TEST(BakingPlaces, AreListedByFamily) {
  EXPECT_THAT(baking_places(open("gpt2").family()),
              ElementsAre("attn_out: attn.o.bias", "mlp_out: mlp.down.bias", "resid_out: mlp.down.bias"));
  EXPECT_THAT(
      baking_places(open("llama-gqa").family()),
      ElementsAre("attn_out: attn.o.bias (config flag attention_bias)", "mlp_out: mlp.down.bias (config flag mlp_bias)",
                  "resid_out: mlp.down.bias (config flag mlp_bias)"));
  EXPECT_TRUE(baking_places(open("mistral").family()).empty());
}

}  // namespace
}  // namespace suture::model
