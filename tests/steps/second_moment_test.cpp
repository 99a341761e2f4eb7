// SPDX-License-Identifier: Apache-2.0
#include "steps/second_moment.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/temp_folder.h"
#include "steps/collect.h"
#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::steps {
namespace {

using fixtures::max_difference;
using ::testing::ElementsAre;

// Row by row, one text at a time, without padding, in fp64.
at::Tensor direct_mean(const model::Transformer& model, int64_t layer, const std::vector<std::vector<int32_t>>& texts) {
  const at::NoGradGuard no_grad;
  at::Tensor sum = at::zeros({model.config().hidden, model.config().hidden}, at::kDouble);
  int64_t count = 0;
  for (const auto& ids : texts) {
    Recorder recorder({{hook::Site::kMlpKey, layer}}, Recorder::Keep::kEverything);
    model.logits(model::pad_left({ids}), nullptr, &recorder);
    const at::Tensor k = recorder.at({hook::Site::kMlpKey, layer})[0].to(at::kDouble);
    sum += at::matmul(k.t(), k);
    count += k.size(0);
  }
  return sum / double(count);
}

TEST(SecondMomentStep, IsTheMeanOverTheTokensOfRaggedTexts) {
  const std::vector<std::vector<int32_t>> texts = {
      {1, 2, 3}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, {50}, {60, 61, 62, 63, 64}};
  for (const std::string name : {"llama-gqa", "gpt2"}) {
    const model::Transformer model = fixtures::load(name);
    for (int64_t layer = 0; layer < 3; ++layer) {
      const tensor::SecondMoment moment = second_moment(model, layer, texts);
      EXPECT_EQ(moment.count(), 3 + 10 + 1 + 5);
      EXPECT_LT(max_difference(moment.mean_FF(), direct_mean(model, layer, texts)), 1e-5)
          << name << " " << layer;  // fp32 keys of size 1
    }
  }
}

TEST(SecondMomentStep, EqualsTheReferencesMoment) {
  for (const std::string name : {"llama-gqa", "gpt2"}) {
    const fixtures::Expected expected("rome-" + name);
    const Json& base = expected.json["cases"]["base"];
    const auto texts = base["input"]["covariance_ids"].get<std::vector<std::vector<int32_t>>>();
    const tensor::SecondMoment moment =
        second_moment(fixtures::load(name), base["hyper"]["layer"].get<int64_t>(), texts);
    EXPECT_LT(max_difference(moment.mean_FF(), expected.get("base.C")), 1e-5);  // fp32 keys against fp64 ones
  }
}

TEST(Paragraphs, AreSplitAtBlankLines) {
  EXPECT_THAT(paragraphs("One\nline.\n\n  Two. \n\n\n\nThree\n"), ElementsAre("One line.", "Two.", "Three"));
  EXPECT_THAT(paragraphs("\n\n \n\n"), ElementsAre());
  EXPECT_THAT(paragraphs(""), ElementsAre());
}

class TextsOf : public ::testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& text) {
    write_atomically(folder_ / name, text);
    return folder_ / name;
  }
  decode::LanguageModel model_ = decode::LanguageModel::load(fixtures::root() / "models" / "llama-gqa", {});
  test::TempFolder folder_;
};

TEST_F(TextsOf, ReadsParagraphsAndColumns) {
  const std::vector<std::vector<int32_t>> expected = {model_.encode("It is a test").ids,
                                                      model_.encode("and another").ids};
  EXPECT_EQ(texts_of(model_, write("a.txt", "It is a test\n\nand another\n"), 0, 100), expected);
  EXPECT_EQ(texts_of(model_, write("a.jsonl", "{\"text\": \"It is a test\"}\n\"and another\"\n"), 0, 100), expected);
}

TEST_F(TextsOf, CutsTextsAndTheWhole) {
  const fs::path path = write("a.txt", "It is a test of cutting\n\nand another one to be cut\n\nand a third");
  for (const auto& ids : texts_of(model_, path, 0, 4)) EXPECT_EQ(ids.size(), 4U);
  const auto six = texts_of(model_, path, 6, 4);
  ASSERT_EQ(six.size(), 2U);
  EXPECT_EQ(six[0].size() + six[1].size(), 6U);
  EXPECT_EQ(test::error_of([&] { texts_of(model_, write("b.txt", "\n\n"), 0, 4); }).code(), Code::kData);
}

TEST_F(TextsOf, SelfWrittenTextsAreAsManyTokensAsAskedAndDependOnTheSeedOnly) {
  const auto texts = self_written(model_, 100, 24, 3);
  size_t count = 0;
  for (const auto& ids : texts) {
    EXPECT_FALSE(ids.empty());
    count += ids.size();
  }
  EXPECT_EQ(count, 100U);
  EXPECT_EQ(self_written(model_, 100, 24, 3), texts);
  EXPECT_NE(self_written(model_, 100, 24, 4), texts);
}

}  // namespace
}  // namespace suture::steps
