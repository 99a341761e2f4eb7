// SPDX-License-Identifier: Apache-2.0
#include "model/delta.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "core/temp_folder.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using fixtures::max_difference;
using test::error_of;

Checkpoint open(const std::string& name) { return Checkpoint::open(fixtures::root() / "models" / name); }

at::Tensor column(int64_t n, const std::string& name, double size) {
  Stream stream(9, name);
  std::vector<float> numbers;
  for (int64_t i = 0; i < n; ++i) numbers.push_back(float(size * (2 * stream.uniform() - 1)));
  return at::tensor(numbers).unsqueeze(1);
}

LowRank factor(const Checkpoint& checkpoint, int64_t layer, double size, const std::string& name = "d") {
  const WeightId id{Part::kDown, layer};
  const at::Tensor weight = checkpoint.weight(id);
  return {id, column(weight.size(0), name + " left", size), column(weight.size(1), name + " right", 1)};
}

TEST(LowRankTest, DenseIsTheSumOfOuterProducts) {
  const at::Tensor left = at::tensor({1.F, 2.F, 3.F, 4.F, 5.F, 6.F}).view({3, 2}),
                   right = at::tensor({1.F, 0.F, 0.F, 2.F}).view({2, 2});
  const LowRank change{{Part::kDown, 0}, left, right};
  EXPECT_TRUE(change.dense().equal(at::outer(left.select(1, 0), right.select(1, 0)) +
                                   at::outer(left.select(1, 1), right.select(1, 1))));
}

TEST(AddTo, ChangesTheLoadedWeightAndOnlyThat) {
  const Checkpoint checkpoint = open("llama-gqa");
  const Transformer model = fixtures::load("llama-gqa");
  const LowRank change = factor(checkpoint, 1, 0.5);
  const at::Tensor before = model.down_OI(1).clone(), other = model.down_OI(0).clone();
  add_to(model, {change});
  EXPECT_LT(max_difference(model.down_OI(1), before + change.dense()), 1e-7);
  EXPECT_TRUE(model.down_OI(0).equal(other));
  const Error error = error_of([&] { add_to(model, {{{Part::kUp, 0}, change.left_OR, change.right_IR}}); });
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_STREQ(error.what(), "cannot change layers.0.mlp.up of a loaded model");
}

// Applied to the files and loaded again, a delta computes what it computes when added to the loaded model.
class EveryLayout : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryLayout, WrittenAndLoadedEqualsAddedInMemory) {
  const at::NoGradGuard no_grad;
  const Checkpoint checkpoint = open(GetParam());
  const std::vector<LowRank> delta = {factor(checkpoint, 1, 0.5, "a"), factor(checkpoint, 2, 0.5, "b"),
                                      factor(checkpoint, 1, 0.25, "c")};
  const Applied applied = apply(checkpoint, delta);
  EXPECT_EQ(applied.tensors.size(), 2U);
  test::TempFolder out;
  write_checkpoint(checkpoint, {applied.tensors, {}}, out.path());
  const Checkpoint written = Checkpoint::open(out.path());
  const Transformer model = fixtures::load(GetParam());
  add_to(model, delta);
  const Batch batch = pad_left({{5, 17, 99, 3, 42}});
  // The same fp32 weights up to the order of two additions.
  EXPECT_LT(max_difference(Transformer::load(written, {}).logits(batch, nullptr, nullptr),
                           model.logits(batch, nullptr, nullptr)),
            1e-4);
  for (const std::string& name : checkpoint.tensor_names())
    EXPECT_EQ(written.tensor(name).equal(checkpoint.tensor(name)), !applied.tensors.contains(name)) << name;
}

INSTANTIATE_TEST_SUITE_P(Files, EveryLayout, ::testing::ValuesIn([] {
                           std::vector<std::string> all = fixtures::models("site.mlp_key");  // not mixtures of experts
                           all.insert(all.end(), {"llama-gqa.gguf", "gpt2.gguf"});
                           return all;
                         }()),
                         [](const auto& row) { return fixtures::test_name(row.param); });

TEST(Apply, LandsInTheFilesOwnLayout) {
  const Checkpoint gpt2 = open("gpt2");
  const LowRank change = factor(gpt2, 1, 0.5);
  const Applied applied = apply(gpt2, {change});
  const at::Tensor changed = applied.tensors.at("transformer.h.1.mlp.c_proj.weight");
  const at::Tensor before = gpt2.tensor("transformer.h.1.mlp.c_proj.weight");
  ASSERT_EQ(changed.sizes(), before.sizes());                             // [in, out]
  EXPECT_LT(max_difference(changed - before, change.dense().t()), 1e-6);  // fp32 at weights near 1
}

TEST(Apply, ReportsAnExactChangeInFp32) {
  const Checkpoint checkpoint = open("llama-gqa");
  const LowRank change = factor(checkpoint, 1, 0.5);
  const Rounding rounding = apply(checkpoint, {change}).rounding.at(0);
  EXPECT_EQ(rounding.tensor, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(rounding.dtype, "F32");
  const double norm = change.dense().norm().item<double>();
  EXPECT_NEAR(rounding.change_norm, norm, 1e-5 * norm);
  EXPECT_NEAR(rounding.relative_change, norm / checkpoint.weight({Part::kDown, 1}).norm().item<double>(), 1e-5);
  EXPECT_NEAR(rounding.kept, 1, 1e-5);
  EXPECT_LT(rounding.error, 1e-5);
}

TEST(Apply, ReportsWhatRoundingToBf16Leaves) {
  const Checkpoint checkpoint = open("llama-bf16");
  const LowRank change = factor(checkpoint, 1, 0.01);
  const Applied applied = apply(checkpoint, {change});
  const at::Tensor written = applied.tensors.at("model.layers.1.mlp.down_proj.weight"),
                   before = checkpoint.weight({Part::kDown, 1});
  EXPECT_EQ(written.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(written.equal((before.to(at::kFloat) + change.dense()).to(at::kBFloat16)));
  const at::Tensor kept = written.to(at::kDouble) - before.to(at::kDouble), wanted = change.dense().to(at::kDouble);
  const Rounding& rounding = applied.rounding.at(0);
  EXPECT_EQ(rounding.dtype, "BF16");
  EXPECT_NEAR(rounding.kept, (kept.norm() / wanted.norm()).item<double>(), 1e-5);  // fp32 norms
  EXPECT_NEAR(rounding.error, ((kept - wanted).norm() / wanted.norm()).item<double>(), 1e-5);
  EXPECT_EQ(rounding.changed_numbers, (kept != 0).sum().item<int64_t>());
  EXPECT_GT(rounding.error, 0.01);  // bf16 is coarse against a change this small
  EXPECT_LT(rounding.changed_numbers, before.numel());
}

TEST(Apply, SeveralFactorsInOneWeightAreRoundedOnce) {
  const Checkpoint checkpoint = open("llama-bf16");
  const LowRank a = factor(checkpoint, 1, 0.02, "a"), b = factor(checkpoint, 1, 0.02, "b");
  const Applied applied = apply(checkpoint, {a, b});
  ASSERT_EQ(applied.rounding.size(), 1U);
  EXPECT_TRUE(applied.tensors.begin()->second.equal(
      (checkpoint.weight({Part::kDown, 1}).to(at::kFloat) + (a.dense() + b.dense())).to(at::kBFloat16)));
}

TEST(Apply, RefusesAChangeThatRoundsAway) {
  const Error error = error_of([] {
    const Checkpoint checkpoint = open("llama-bf16");
    apply(checkpoint, {factor(checkpoint, 1, 1e-12)});
  });
  EXPECT_EQ(error.code(), Code::kNumerics);
  EXPECT_TRUE(std::string(error.what())
                  .starts_with("cannot write the edit: rounding to BF16 leaves model.layers.1.mlp.down_proj.weight "
                               "unchanged (change norm "))
      << error.what();
}

TEST(Apply, RefusesAnotherShapeOrLayer) {
  const Checkpoint checkpoint = open("llama-gqa");
  const Error shape = error_of([&] { apply(checkpoint, {{{Part::kDown, 1}, at::ones({32, 1}), at::ones({48, 1})}}); });
  EXPECT_EQ(shape.code(), Code::kModel);
  EXPECT_STREQ(shape.what(), "cannot apply a delta to layers.1.mlp.down: it is 32x48, the weight 32x40");
  EXPECT_EQ(error_of([&] {
              apply(checkpoint, {{{Part::kDown, 7}, at::ones({32, 1}), at::ones({40, 1})}});
            }).code(),
            Code::kModel);
}

}  // namespace
}  // namespace suture::model
