// SPDX-License-Identifier: Apache-2.0
#include "io/gguf.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/digest.h"
#include "io/safetensors.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/io";

TEST(Gguf, EveryTypeEqualsTheReferenceBitForBit) {
  const auto file = GgufFile::open(kFixtures / "types.gguf");
  const auto expected = SafetensorsFile::open(kFixtures / "types.safetensors");
  ASSERT_EQ(expected->tensors().size(), 19u);
  for (const TensorInfo& info : expected->tensors()) {
    const at::Tensor want = expected->tensor(info.name);
    const at::Tensor got = file->tensor(info.name).to(want.scalar_type()).contiguous();
    ASSERT_EQ(got.sizes(), want.sizes()) << info.name;
    EXPECT_EQ(std::memcmp(got.const_data_ptr(), want.const_data_ptr(), want.nbytes()), 0) << info.name;
    EXPECT_EQ(file->info(info.name).type, info.name);
  }
}

// Digests, since the numbers would fill a megabyte: every row of every grid is among them.
TEST(Gguf, LatticesEqualTheReferenceBitForBit) {
  const auto file = GgufFile::open(kFixtures / "lattices.gguf");
  ASSERT_EQ(file->tensors().size(), 13u);
  for (const GgufFile::Info& info : file->tensors())
    EXPECT_EQ(sha256(tensor_bytes(file->tensor(info.name))), file->text("sha256." + info.name)) << info.name;
}

TEST(Gguf, IntegersKeepTheirType) {
  const auto file = GgufFile::open(kFixtures / "types.gguf");
  EXPECT_EQ(file->tensor("I8").scalar_type(), at::kChar);
  EXPECT_EQ(file->tensor("I16").scalar_type(), at::kShort);
  EXPECT_EQ(file->tensor("I32").scalar_type(), at::kInt);
  EXPECT_EQ(file->tensor("I64").scalar_type(), at::kLong);
  EXPECT_EQ(file->tensor("F64").scalar_type(), at::kDouble);
}

TEST(Gguf, PlainTypesAreViewsThatOutliveTheFile) {
  auto file = GgufFile::open(kFixtures / "types.gguf");
  const at::Tensor half = file->tensor("F16");
  EXPECT_EQ(half.const_data_ptr(), static_cast<const void*>(file->bytes("F16").data()));
  file.reset();
  EXPECT_EQ(half.scalar_type(), at::kHalf);
  EXPECT_EQ(half.to(at::kFloat).sizes(), at::IntArrayRef({3, 5}));
}

TEST(Gguf, ValuesByKey) {
  const auto file = GgufFile::open(kFixtures / "types.gguf");
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->text("general.architecture"), "suture-test");
  EXPECT_EQ(file->integer("test.u8"), 200);
  EXPECT_EQ(file->integer("test.i32"), -7);
  EXPECT_EQ(file->number("test.f32"), 0.5);
  EXPECT_EQ(file->number("test.f64"), 1e-300);
  EXPECT_EQ(file->number("test.i32"), -7.0);
  EXPECT_TRUE(file->flag("test.flag"));
  EXPECT_EQ(file->text("test.text"), "naïve 🦙");
  EXPECT_THAT(file->texts("test.texts"), ElementsAre("a", "", "ü"));
  EXPECT_THAT(file->integers("test.integers"), ElementsAre(1, -2, 3));
  EXPECT_THAT(file->numbers("test.numbers"), ElementsAre(0.25f, -0.5f));
  EXPECT_EQ(file->integer_or("test.absent", 5), 5);
  EXPECT_EQ(file->keys().front(), "general.architecture");
  EXPECT_TRUE(file->is_array("test.texts"));
  EXPECT_FALSE(file->is_array("test.text"));
}

TEST(Gguf, KeysOfAnotherKindAreRefused) {
  const auto file = GgufFile::open(kFixtures / "types.gguf");
  EXPECT_THAT(complaint([&] { file->integer("test.text"); }), HasSubstr("is a text, expected an integer below 2^63"));
  EXPECT_THAT(complaint([&] { file->integer("test.u64"); }), HasSubstr("6: cannot use key 'test.u64'"));
  EXPECT_THAT(complaint([&] { file->text_or("test.u8", ""); }), HasSubstr("is an integer, expected a text"));
  EXPECT_THAT(complaint([&] { file->text("no.key"); }), HasSubstr("6: cannot find key 'no.key'"));
  EXPECT_THAT(complaint([&] { file->tensor("Q1_0"); }), HasSubstr("type Q1_0 is not supported"));
  EXPECT_THAT(complaint([&] { file->tensor("none"); }), HasSubstr("6: cannot find tensor 'none'"));
}

// Builds files byte by byte, so that each can be broken in one way.
class Builder {
 public:
  template <class T>
  Builder& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Builder& text(std::string_view value) {
    put(uint64_t(value.size()));
    bytes_ += value;
    return *this;
  }
  Builder& head(uint32_t version, uint64_t tensors, uint64_t keys) {
    bytes_ += "GGUF";
    return put(version).put(tensors).put(keys);
  }
  Builder& tensor(std::string_view name, std::vector<uint64_t> sizes, uint32_t type, uint64_t offset) {
    text(name).put(uint32_t(sizes.size()));
    for (const uint64_t size : sizes) put(size);
    return put(type).put(offset);
  }
  Builder& data(size_t size) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32 + size, 'x');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }
  std::string open() const {
    const fs::path path = scratch() / "made.gguf";
    put_file(path, bytes_);
    return complaint([&] { GgufFile::open(path); });
  }

 private:
  std::string bytes_;
};

TEST(Gguf, GoodMinimalFilesOpen) {
  EXPECT_EQ(Builder().head(3, 0, 0).open(), "");
  EXPECT_EQ(Builder().head(2, 1, 0).tensor("a", {4, 2}, 0, 0).data(32).open(), "");
  EXPECT_EQ(Builder().head(3, 2, 0).tensor("b", {8}, 0, 32).tensor("a", {8}, 0, 0).data(64).open(), "");
  Builder aligned;
  aligned.head(3, 1, 1).text("general.alignment").put(uint32_t(4)).put(uint32_t(8)).tensor("a", {2}, 0, 8).data(32);
  EXPECT_EQ(aligned.open(), "");
}

TEST(Gguf, BrokenHeadersAreRefused) {
  EXPECT_THAT(Builder().put('G').open(), HasSubstr("5: cannot read"));
  EXPECT_THAT(Builder().put(uint64_t(42)).open(), HasSubstr("does not start with 'GGUF'"));
  EXPECT_THAT(Builder().head(1, 0, 0).open(), HasSubstr("version 1 is not supported (2..3 are)"));
  EXPECT_THAT(Builder().head(4, 0, 0).open(), HasSubstr("version 4 is not supported"));
  EXPECT_THAT(Builder().head(0x03000000, 0, 0).open(), HasSubstr("big-endian"));
  EXPECT_THAT(Builder().head(3, uint64_t(1) << 60, 0).open(), HasSubstr("truncated: tensor count says"));
  EXPECT_THAT(Builder().head(3, 0, uint64_t(1) << 60).open(), HasSubstr("truncated: key count says"));
  EXPECT_THAT(Builder().head(3, 0, 1).put(uint64_t(1) << 62).data(64).open(), HasSubstr("truncated: key of"));
  EXPECT_THAT(Builder().head(3, 0, 1).text("k").put(uint32_t(13)).data(64).open(),
              HasSubstr("key 'k' has unknown value type 13"));
  EXPECT_THAT(Builder().head(3, 0, 1).text("k").put(uint32_t(9)).put(uint32_t(9)).data(64).open(),
              HasSubstr("unknown or nested type 9"));
  EXPECT_THAT(
      Builder().head(3, 0, 1).text("k").put(uint32_t(9)).put(uint32_t(10)).put(uint64_t(1) << 61).data(64).open(),
      HasSubstr("truncated: array length says"));
  Builder twice;
  twice.head(3, 0, 2);
  for (int i = 0; i < 2; ++i) twice.text("k").put(uint32_t(4)).put(uint32_t(1));
  EXPECT_THAT(twice.open(), HasSubstr("duplicate key 'k'"));
  EXPECT_THAT(Builder().head(3, 0, 1).text("general.alignment").put(uint32_t(4)).put(uint32_t(0)).open(),
              HasSubstr("general.alignment is 0"));
  EXPECT_THAT(Builder().head(3, 0, 1).text("general.alignment").put(uint32_t(8)).text("four").open(),
              HasSubstr("general.alignment is -1"));
}

TEST(Gguf, BrokenTensorTablesAreRefused) {
  const auto one = [](std::vector<uint64_t> sizes, uint32_t type, uint64_t offset, size_t data) {
    return Builder().head(3, 1, 0).tensor("a", sizes, type, offset).data(data).open();
  };
  EXPECT_THAT(one({8}, 0, 0, 31), HasSubstr("tensor 'a' at data offset 0: truncated: it ends at 32"));
  EXPECT_THAT(one({8}, 0, 16, 64), HasSubstr("not a multiple of the alignment 32"));
  EXPECT_THAT(one({8}, 0, ~uint64_t(0) - 31, 64), HasSubstr("5: cannot read"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0, 64), HasSubstr("has 5 dimensions (limit 4)"));
  EXPECT_THAT(one({8}, 4, 0, 64), HasSubstr("unknown type 4"));
  EXPECT_THAT(one({48}, 3, 0, 64), HasSubstr("rows of 48, not a multiple of Q4_1's block of 32"));
  EXPECT_THAT(one({uint64_t(1) << 40, uint64_t(1) << 40}, 0, 0, 64), HasSubstr("overflows"));
  EXPECT_THAT(one({uint64_t(1) << 63}, 0, 0, 64), HasSubstr("has a dimension of"));
  EXPECT_THAT(Builder().head(3, 2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).data(64).open(),
              HasSubstr("duplicate tensor 'a'"));
  EXPECT_THAT(Builder().head(3, 2, 0).tensor("a", {16}, 0, 0).tensor("b", {8}, 0, 32).data(64).open(),
              HasSubstr("tensor 'b' at data offset 32: overlaps tensor 'a'"));
}

// A copy of the three parts of the fixture, some of them perhaps under other names.
fs::path copied_parts(const fs::path& folder, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i)
    if (!names[i].empty())
      fs::copy_file(kFixtures / fmt::format("split-{:05}-of-00003.gguf", i + 1), folder / names[i]);
  return folder;
}

TEST(GgufSplit, AnyPartOpensAll) {
  const auto whole = SafetensorsFile::open(kFixtures / "split.safetensors");
  for (int part = 1; part <= 3; ++part) {
    const auto file = GgufFile::open(kFixtures / fmt::format("split-{:05}-of-00003.gguf", part));
    ASSERT_EQ(file->tensors().size(), whole->tensors().size());
    for (const TensorInfo& info : whole->tensors())
      EXPECT_TRUE(at::equal(file->tensor(info.name), whole->tensor(info.name))) << info.name;
    EXPECT_EQ(file->text("test.text"), "in the first part");
    EXPECT_EQ(file->path().filename(), "split-00001-of-00003.gguf");
    ASSERT_EQ(file->paths().size(), 3u);
    EXPECT_EQ(file->paths()[2].filename(), "split-00003-of-00003.gguf");
    file->forget_pages();
    EXPECT_EQ(file->info("t4").part, 2u);
  }
}

TEST(GgufSplit, MissingPartsAreNamed) {
  const fs::path folder = copied_parts(scratch(), {"m-00001-of-00003.gguf"});
  EXPECT_THAT(complaint([&] { GgufFile::open(folder / "m-00001-of-00003.gguf"); }),
              HasSubstr("2 of its 3 parts missing: m-00002-of-00003.gguf, m-00003-of-00003.gguf"));
}

TEST(GgufSplit, PartsUnderOtherNames) {
  const fs::path folder = copied_parts(scratch(), {"renamed.gguf"});
  EXPECT_THAT(complaint([&] { GgufFile::open(folder / "renamed.gguf"); }),
              HasSubstr("part 1 of a GGUF split into 3, whose names end in -00001-of-00003.gguf"));
  const fs::path swapped = folder / "swapped";
  fs::create_directories(swapped);
  copied_parts(swapped, {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "m-00002-of-00003.gguf"});
  EXPECT_THAT(complaint([&] { GgufFile::open(swapped / "m-00001-of-00003.gguf"); }),
              HasSubstr("it says it is part 3 of 3, expected 2 of 3"));
}

TEST(GgufSplit, PartsThatDoNotBelongTogether) {
  const auto part = [](uint16_t number, uint16_t count, int32_t tensors, const char* name) {
    Builder made;
    made.head(3, 1, 3).text("split.no").put(uint32_t(2)).put(number).text("split.count").put(uint32_t(2)).put(count);
    made.text("split.tensors.count").put(uint32_t(5)).put(tensors).tensor(name, {8}, 0, 0).data(32);
    return made.bytes();
  };
  const fs::path folder = scratch(), first = folder / "m-00001-of-00002.gguf";
  const auto with = [&](const std::string& one, const std::string& two) {
    put_file(first, one);
    put_file(folder / "m-00002-of-00002.gguf", two);
    return complaint([&] { GgufFile::open(first); });
  };
  EXPECT_EQ(with(part(0, 2, 2, "a"), part(1, 2, 2, "b")), "");
  EXPECT_THAT(with(part(0, 2, 2, "a"), part(1, 2, 2, "a")), HasSubstr("00002-of-00002.gguf: duplicate tensor 'a'"));
  EXPECT_THAT(with(part(0, 2, 3, "a"), part(1, 2, 3, "b")), HasSubstr("split.tensors.count is 3, the 2 parts hold 2"));
  EXPECT_THAT(with(part(0, 2, 2, "a"), part(1, 3, 2, "b")), HasSubstr("part 2 of 3, expected 2 of 2"));
  EXPECT_THAT(with(part(5, 2, 2, "a"), part(1, 2, 2, "b")), HasSubstr("split.no is 5, split.count 2"));
  EXPECT_THAT(with(part(0, 2, 2, "a"), "GGUF"), HasSubstr("m-00002-of-00002.gguf: truncated"));
}

TEST(Gguf, EveryTruncationOfAGoodFileIsRefused) {
  const std::string bytes = get_file(kFixtures / "types.gguf");
  const fs::path folder = scratch();
  for (size_t size = 0; size + 32 < bytes.size(); size += size < 2000 ? 37 : 501) {
    put_file(folder / "cut.gguf", bytes.substr(0, size));
    EXPECT_THAT(complaint([&] { GgufFile::open(folder / "cut.gguf"); }), HasSubstr("5: cannot read")) << size;
  }
}

}  // namespace
}  // namespace suture::io
