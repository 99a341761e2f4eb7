// SPDX-License-Identifier: Apache-2.0
#include "io/delta_file.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/digest.h"
#include "io/hdf5.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

DeltaFile some_delta() {
  DeltaFile delta;
  delta.record = {{"method", "rome"}};
  delta.factors = {
      {"layers.3.down", at::arange(6, at::kFloat).view({3, 2}), at::arange(8, at::kFloat).view({4, 2}), {{"n", 1}}}};
  const auto bytes = std::as_bytes(std::span("\0\1\2\3\4\5\6\7", 8));
  delta.originals = {
      {"model.layers.3.mlp.down_proj.weight", "BF16", {2, 2}, {bytes.begin(), bytes.end()}, sha256(bytes), "ff"}};
  delta.original_files = {{"config.json", "{\"a\": 1}\n"}};
  return delta;
}

TEST(DeltaFile, RoundTripKeepsEveryByte) {
  const fs::path path = scratch() / "d.h5";
  const DeltaFile delta = some_delta();
  write_delta_file(path, delta);
  const DeltaFile got = read_delta_file(path);
  EXPECT_EQ(got.record, delta.record);
  ASSERT_EQ(got.factors.size(), 1u);
  EXPECT_EQ(got.factors[0].weight, "layers.3.down");
  EXPECT_TRUE(at::equal(got.factors[0].left_OR, delta.factors[0].left_OR));
  EXPECT_TRUE(at::equal(got.factors[0].right_IR, delta.factors[0].right_IR));
  EXPECT_EQ(got.factors[0].record, delta.factors[0].record);
  ASSERT_EQ(got.originals.size(), 1u);
  EXPECT_EQ(got.originals[0].name, delta.originals[0].name);
  EXPECT_EQ(got.originals[0].dtype, "BF16");
  EXPECT_EQ(got.originals[0].shape, delta.originals[0].shape);
  EXPECT_EQ(got.originals[0].bytes, delta.originals[0].bytes);
  EXPECT_EQ(got.originals[0].sha256_before, delta.originals[0].sha256_before);
  EXPECT_EQ(got.originals[0].sha256_after, "ff");
  EXPECT_EQ(got.original_files, delta.original_files);
}

TEST(DeltaFile, WrongFactorsAndOriginalsAreRefused) {
  const fs::path path = scratch() / "d.h5";
  const auto refused = [&](auto change) {
    DeltaFile delta = some_delta();
    change(delta);
    return complaint([&] { write_delta_file(path, delta); });
  };
  EXPECT_THAT(refused([](auto& d) {
                d.factors[0].right_IR = at::ones({4, 3});
              }),
              HasSubstr("expected [I, R=2], got [4, 3]"));
  EXPECT_THAT(refused([](auto& d) {
                d.factors[0].left_OR = at::ones({3, 2}, at::kDouble);
              }),
              HasSubstr("one float dtype"));
  EXPECT_THAT(refused([](auto& d) { d.originals[0].bytes[3] = std::byte{9}; }), HasSubstr("its bytes have SHA-256"));
  EXPECT_THAT(refused([](auto& d) { d.originals[0].bytes.pop_back(); }),
              HasSubstr("BF16 [2, 2] needs 8 bytes, it has 7"));
  EXPECT_THAT(refused([](auto& d) { d.originals[0].dtype = "X"; }), HasSubstr("70: cannot use original"));
  EXPECT_FALSE(fs::exists(path));
}

TEST(DeltaFile, ADamagedByteIsFoundWhenReading) {
  const fs::path path = scratch() / "d.h5";
  write_delta_file(path, some_delta());
  std::string bytes = get_file(path);
  const size_t at = bytes.find(std::string("\0\1\2\3\4\5\6\7", 8));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 2] ^= 1;
  put_file(path, bytes);
  EXPECT_THAT(complaint([&] { read_delta_file(path); }), HasSubstr("5: cannot use original of tensor"));
}

}  // namespace
}  // namespace suture::io
