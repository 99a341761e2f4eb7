// SPDX-License-Identifier: Apache-2.0
// Activations at every site against transformers' hooks.
#include "steps/collect.h"

#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

using fixtures::Expected;
using fixtures::max_difference;
using hook::Point;
using hook::Site;

// Activations of size 1 to 10 in fp32, sums in another order.
constexpr double kFp32 = 1e-4;

class Collect : public ::testing::TestWithParam<std::string> {};

TEST_P(Collect, EverySiteEqualsTransformers) {
  const Expected expected(GetParam());
  const model::Transformer model = fixtures::load(GetParam());
  std::vector<std::pair<Point, at::Tensor>> wanted = {{{Site::kEmbed, 0}, expected.get("site.resid")[0]},
                                                      {{Site::kFinalNorm, 0}, expected.get("site.final_norm")}};
  for (int64_t l = 0; l < model.config().layers; ++l) {
    wanted.push_back({{Site::kResidOut, l}, expected.get("site.resid")[l + 1]});
    wanted.push_back({{Site::kHeadOut, l}, expected.get("site.head_out")[l]});
    wanted.push_back({{Site::kAttnOut, l}, expected.get("site.attn_out")[l]});
    wanted.push_back({{Site::kMlpKey, l}, expected.get("site.mlp_key")[l]});
    wanted.push_back({{Site::kMlpOut, l}, expected.get("site.mlp_out")[l]});
  }
  std::vector<Point> points;
  for (const auto& [point, value] : wanted) points.push_back(point);
  // Other prompts beside it must not matter, nor its place among them.
  const auto seen = last_token_activations(
      model, {expected.ids("ids.7"), expected.ids("ids.33"), expected.ids("ragged.prompt.0")}, points, "test");
  for (const auto& [point, value] : wanted) {
    ASSERT_EQ(seen.at(point).sizes(), (std::vector<int64_t>{3, model.width_of(point.site)}));
    EXPECT_LT(max_difference(seen.at(point)[1], value), kFp32) << hook::name(point.site) << " " << point.layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Collect, ::testing::ValuesIn(fixtures::models("site.mlp_key")),
                         [](const auto& row) { return fixtures::test_name(row.param); });

// Prompts that begin alike are computed from the common part on; each must be what it is alone.
TEST_P(Collect, ACommonStartChangesNothing) {
  const Expected expected(GetParam());
  const model::Transformer model = fixtures::load(GetParam());
  const std::vector<int32_t> start = expected.ids("ids.33");
  std::vector<std::vector<int32_t>> prompts(3, {start.begin(), start.begin() + 20});
  for (const size_t i : {0U, 1U, 2U}) {
    const std::vector<int32_t> rest = expected.ids(fmt::format("ragged.prompt.{}", i));
    prompts[i].insert(prompts[i].end(), rest.begin(), rest.end());
  }
  const std::vector<Point> points = {{Site::kResidOut, 1}, {Site::kHeadOut, 2}, {Site::kFinalNorm, 0}};
  const auto together = last_token_activations(model, prompts, points, "test");
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto alone = last_token_activations(model, {prompts[i]}, points, "test");
    for (const Point& point : points)
      EXPECT_LT(max_difference(together.at(point)[int64_t(i)], alone.at(point)[0]), kFp32) << "prompt " << i;
  }
}

TEST(LastTokenActivations, KeepsTheOrderOfThePrompts) {
  const model::Transformer model = fixtures::load("llama-gqa");
  const std::vector<std::vector<int32_t>> prompts = {{5}, {1, 2, 3, 4, 5, 6}, {7, 8, 9}};
  const Point point{Site::kResidOut, 1};
  const at::Tensor together = last_token_activations(model, prompts, {point}, "test").at(point);
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_LT(
        max_difference(together[int64_t(i)], last_token_activations(model, {prompts[i]}, {point}, "test").at(point)[0]),
        kFp32);
}

TEST(RecorderTest, KeepsEverythingAndChangesNothing) {
  const model::Transformer model = fixtures::load("llama-gqa");
  const Point point{Site::kMlpOut, 1};
  Recorder recorder({point}, Recorder::Keep::kEverything);
  EXPECT_TRUE(recorder.wants(point));
  EXPECT_FALSE(recorder.wants({Site::kMlpOut, 0}));
  const model::Batch batch = model::pad_left({{5, 6, 7}, {8, 9}});
  const at::Tensor logits = model.last_logits(batch, nullptr, &recorder);
  EXPECT_TRUE(logits.equal(model.last_logits(batch, nullptr, nullptr)));
  EXPECT_EQ(recorder.at(point).sizes(), (std::vector<int64_t>{2, 3, 32}));
  EXPECT_EQ(test::error_of([&] { recorder.at({Site::kMlpOut, 0}); }).code(), Code::kBug);
}

}  // namespace
}  // namespace suture::steps
