// SPDX-License-Identifier: Apache-2.0
// Equality with transformers 5.24 in fp32 on every tiny checkpoint.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "support/fixtures.h"

namespace suture::model {
namespace {

using fixtures::Expected;
using fixtures::max_difference;

// Logits are of size 1 to 10; two orders of summation in fp32 differ by about 1e-6 of that, and by 3e-6 from fp64 here.
constexpr double kFp32 = 1e-4;

class EveryFixture : public ::testing::TestWithParam<std::string> {
 protected:
  at::NoGradGuard no_grad_;
};

TEST_P(EveryFixture, LogitsEqualTransformers) {
  const Transformer model = fixtures::load(GetParam());
  const Expected expected(GetParam());
  for (const std::string length : {"7", "33"}) {
    const at::Tensor logits = model.logits(pad_left({expected.ids("ids." + length)}), nullptr, nullptr)[0];
    EXPECT_LT(max_difference(logits, expected.get("logits." + length)), kFp32) << length << " tokens";
  }
}

class LongSequence : public EveryFixture {};

TEST_P(LongSequence, LogitsEqualTransformersBeyondAThousandPositions) {
  const Expected expected(GetParam());
  const Transformer model = fixtures::load(GetParam());
  const at::Tensor logits = model.logits(pad_left({expected.ids("ids.1100")}), nullptr, nullptr)[0];
  EXPECT_LT(max_difference(logits.index_select(0, expected.get("positions.1100")), expected.get("logits.1100")), kFp32);
}

TEST_P(EveryFixture, CacheGivesWhatRecomputationGives) {
  const Transformer model = fixtures::load(GetParam());
  const std::vector<int32_t> ids = Expected(GetParam()).ids("ids.33");
  const at::Tensor whole = model.logits(pad_left({ids}), nullptr, nullptr)[0];
  KvCache cache = model.new_cache(1, 33);
  Batch first = pad_left({{ids.begin(), ids.begin() + 20}});
  EXPECT_LT(max_difference(model.logits(first, &cache, nullptr)[0], whole.narrow(0, 0, 20)), kFp32);
  Batch chunk = pad_left({{ids.begin() + 20, ids.begin() + 25}});  // several tokens behind a filled cache
  chunk.tokens.position_BT += 20;
  EXPECT_LT(max_difference(model.logits(chunk, &cache, nullptr)[0], whole.narrow(0, 20, 5)), kFp32);
  for (int64_t t = 25; t < 33; ++t)
    EXPECT_LT(max_difference(model.last_logits(next_tokens({ids[size_t(t)]}, {t}, {20}), &cache, nullptr)[0], whole[t]),
              kFp32)
        << t;
}

TEST_P(EveryFixture, EveryRowOfARaggedBatchEqualsItsOwnRun) {
  const Transformer model = fixtures::load(GetParam());
  const Expected expected(GetParam());
  std::vector<std::vector<int32_t>> rows;
  for (const std::string row : {"0", "1", "2"}) rows.push_back(expected.ids("ragged.prompt." + row));
  const at::Tensor last = model.last_logits(pad_left(rows), nullptr, nullptr);
  for (int64_t b = 0; b < 3; ++b)
    EXPECT_LT(max_difference(last[b], expected.get(fmt::format("ragged.first_logits.{}", b))), kFp32) << "row " << b;
}

TEST_P(EveryFixture, WritingWithoutChangesKeepsEveryByte) {
  const fs::path folder = fixtures::root() / "models" / GetParam();
  const fs::path out = fs::path(::testing::TempDir()) / ("write-" + GetParam());
  fs::remove_all(out);
  fs::create_directories(out);
  const Checkpoint before = Checkpoint::open(folder);
  write_checkpoint(before, {}, out);
  const Checkpoint after = Checkpoint::open(out);
  EXPECT_EQ(before.digest(), after.digest());
  for (const std::string& name : before.tensor_names())
    EXPECT_TRUE(before.tensor(name).equal(after.tensor(name))) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFixture, ::testing::ValuesIn(fixtures::models()),
                         [](const auto& row) { return fixtures::test_name(row.param); });
INSTANTIATE_TEST_SUITE_P(Families, LongSequence, ::testing::ValuesIn(fixtures::models("ids.1100")),
                         [](const auto& row) { return fixtures::test_name(row.param); });

TEST(Transformer, HalfPrecisionStaysNearTransformersInHalfPrecision) {
  const at::NoGradGuard no_grad;
  const Expected expected("llama-bf16");
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Transformer model = fixtures::load("llama-bf16", dtype);
    const at::Tensor logits = model.logits(pad_left({expected.ids("ids.33")}), nullptr, nullptr)[0];
    // bf16 keeps 8 bits: values of size 4 are spaced 1/32 apart, and three layers of rounding add up to a few steps.
    EXPECT_LT(max_difference(logits, expected.get("logits.33")), dtype == at::kFloat ? kFp32 : 0.25);
  }
}

class EveryGguf : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryGguf, ComputesWhatTheFolderComputes) {
  const at::NoGradGuard no_grad;
  const Expected expected(GetParam());
  const Transformer model = fixtures::load(GetParam() + ".gguf");
  const at::Tensor logits = model.logits(pad_left({expected.ids("ids.33")}), nullptr, nullptr)[0];
  EXPECT_LT(max_difference(logits, expected.get("logits.33")), kFp32);
}

TEST_P(EveryGguf, ConvertedTensorsAreTheFoldersOwn) {
  const Checkpoint folder = Checkpoint::open(fixtures::root() / "models" / GetParam());
  const Checkpoint gguf = Checkpoint::open(fixtures::root() / "models" / (GetParam() + ".gguf"));
  const fs::path out = fs::path(::testing::TempDir()) / ("gguf-" + GetParam());
  fs::remove_all(out);
  fs::create_directories(out);
  write_checkpoint(gguf, {}, out);
  const Checkpoint converted = Checkpoint::open(out);
  for (const std::string& name : folder.tensor_names())
    EXPECT_TRUE(folder.tensor(name).equal(converted.tensor(name))) << name;
}

INSTANTIATE_TEST_SUITE_P(Families, EveryGguf, ::testing::Values("llama-gqa", "gpt2"), [](const auto& row) {
  std::string name = row.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace suture::model
