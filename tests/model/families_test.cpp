// SPDX-License-Identifier: Apache-2.0
// Every family of the table against what transformers computed (tests/oracle/make_model_fixtures.py): values at the
// hook sites, gradients for editing, and where each logical weight lies in its file. Logits, caches, ragged batches and
// write-back are in transformer_test.cpp, greedy texts in decode/generate_test.cpp; all of them walk the same list.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <set>

#include "model/family_document.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using fixtures::Expected;
using fixtures::max_difference;
using hook::Point;
using hook::Site;

// Values are of size 1 to 10; another order of summation in fp32 changes them by about 1e-6 of that.
constexpr double kFp32 = 1e-4;

class Keep : public hook::Hooks {
 public:
  explicit Keep(std::set<Point> points) : points_(std::move(points)) {}
  bool wants(Point point) const override { return points_.contains(point); }
  at::Tensor apply(Point point, at::Tensor x, const hook::Tokens&) override {
    last[point] = x[0][-1].clone();
    return x;
  }
  std::map<Point, at::Tensor> last;  // of the first row

 private:
  std::set<Point> points_;
};

class AddAt : public hook::Hooks {
 public:
  AddAt(Point point, int64_t token, at::Tensor vector_D) : point_(point), token_(token), vector_(std::move(vector_D)) {}
  bool wants(Point point) const override { return point == point_; }
  at::Tensor apply(Point, at::Tensor x, const hook::Tokens&) override {
    at::Tensor place = at::zeros({1, x.size(1), 1}, x.options());
    place[0][token_][0] = 1;
    return x + place * vector_;
  }

 private:
  Point point_;
  int64_t token_;
  at::Tensor vector_;
};

class EveryFamily : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryFamily, SitesHoldWhatTransformersHasThere) {
  const at::NoGradGuard no_grad;
  const Transformer model = fixtures::load(GetParam());
  const Expected expected(GetParam());
  std::map<Point, at::Tensor> wanted = {{{Site::kEmbed, 0}, expected.get("site.resid")[0]},
                                        {{Site::kFinalNorm, 0}, expected.get("site.final_norm")}};
  for (int64_t l = 0; l < model.config().layers; ++l) {
    wanted[{Site::kResidOut, l}] = expected.get("site.resid")[l + 1];
    wanted[{Site::kHeadOut, l}] = expected.get("site.head_out")[l];
    wanted[{Site::kAttnOut, l}] = expected.get("site.attn_out")[l];
    wanted[{Site::kMlpOut, l}] = expected.get("site.mlp_out")[l];
    if (expected.has("site.mlp_key")) wanted[{Site::kMlpKey, l}] = expected.get("site.mlp_key")[l];
  }
  std::set<Point> points;
  for (const auto& [point, value] : wanted) points.insert(point);
  Keep keep(points);
  model.logits(pad_left({expected.ids("ids.33")}), nullptr, &keep);
  for (const auto& [point, value] : wanted)
    EXPECT_LT(max_difference(keep.last.at(point), value), kFp32)
        << hook::name(point.site) << " of layer " << point.layer;
}

TEST_P(EveryFamily, GradientOfAnAddedVectorEqualsTransformers) {
  const Transformer model = fixtures::load(GetParam());
  const Expected expected(GetParam());
  const Json facts = expected.json.at("gradient");
  for (const std::string at_value : {"zero", "vector"}) {
    const at::Tensor start =
        at_value == "zero" ? at::zeros_like(expected.get("gradient.vector")) : expected.get("gradient.vector");
    const at::Tensor leaf = start.clone().requires_grad_();
    AddAt add({Site::kMlpOut, facts.at("layer").get<int64_t>()}, facts.at("position").get<int64_t>(), leaf);
    const at::Tensor logits = model.last_logits(pad_left({expected.ids("ids.7")}), nullptr, &add)[0];
    const at::Tensor loss = -at::log_softmax(logits, -1)[facts.at("target").get<int64_t>()];
    EXPECT_NEAR(loss.item<double>(), facts.at("loss_at_" + at_value).get<double>(), kFp32);
    loss.backward();
    // The script itself found fp32 within 1e-5 of fp64; two fp32 orders may differ by twice that.
    EXPECT_LT(max_difference(leaf.grad(), expected.get("gradient.at_" + at_value)), 3e-5) << at_value;
  }
}

// A weight written into a copy of its file tensor reads back, and no other weight of that tensor changes.
TEST_P(EveryFamily, WeightsLandInTheirOwnPlace) {
  const Checkpoint checkpoint = Checkpoint::open(fixtures::root() / "models" / GetParam());
  const ModelConfig& config = checkpoint.config();
  std::map<std::string, int64_t> numbers;  // per file tensor, of all its logical weights
  for (int part = 0; part < kParts; ++part)
    for (int64_t layer = 0; layer < (per_layer(Part(part)) ? config.layers : 1); ++layer)
      for (int64_t expert = 0; expert < (per_expert(Part(part)) ? config.experts : 1); ++expert) {
        const WeightId id{Part(part), layer, expert};
        if (!checkpoint.has(id)) continue;
        EXPECT_EQ(WeightId::parse(id.text()), id);
        const std::string name = checkpoint.tensor_name(id);
        const at::Tensor before = checkpoint.weight(id), file = checkpoint.tensor(name).clone();
        EXPECT_EQ(before.sizes().vec(), checkpoint.weight_shape(id)) << id.text();
        checkpoint.put_weight(file, id, before + 1);
        EXPECT_EQ((file != checkpoint.tensor(name)).sum().item<int64_t>(), before.numel()) << id.text();
        EXPECT_TRUE((file - checkpoint.tensor(name)).sum().item<double>() > 0.99 * double(before.numel())) << id.text();
        numbers[name] += before.numel();
      }
  for (const auto& [name, count] : numbers) EXPECT_EQ(count, checkpoint.tensor(name).numel()) << name;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EveryFamily, ::testing::ValuesIn(fixtures::models()),
                         [](const auto& row) { return fixtures::test_name(row.param); });

// No row of the table without a fixture.
TEST(Families, EveryModelTypeIsTested) {
  std::set<std::string_view> tested;
  for (const std::string& name : fixtures::models())
    tested.insert(Checkpoint::open(fixtures::root() / "models" / name).family().name);
  for (const FamilySpec* family : families()) EXPECT_TRUE(tested.contains(family->name)) << family->name;
}

TEST(Families, ThePageIsTheTable) {
  EXPECT_EQ(read_text(fs::path(SUTURE_SOURCE_DIR) / "docs" / "families.md"), families_markdown())
      << "write it anew: suture inspect --families > docs/families.md";
}

}  // namespace
}  // namespace suture::model
