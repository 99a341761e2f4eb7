// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support.h"

namespace suture::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

std::string open_complaint(std::string_view bytes) {
  const fs::path path = scratch() / "made.safetensors";
  put_file(path, bytes);
  return complaint([&] { SafetensorsFile::open(path); });
}

std::shared_ptr<const SafetensorsFile> open_bytes(std::string_view bytes) {
  const fs::path path = scratch() / "made.safetensors";
  put_file(path, bytes);
  return SafetensorsFile::open(path);
}

const std::string kTwo =
    R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";

TEST(Safetensors, ReadsByHandWrittenFileInDataOrder) {
  const float values[2] = {1.5f, -2.0f};
  const std::string data = "\1\2\3\4" + std::string(reinterpret_cast<const char*>(values), sizeof values);
  const auto file = open_bytes(raw_safetensors(kTwo, data));
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[1].name, "b");
  EXPECT_TRUE(at::equal(file->tensor("b"), at::tensor({1.5f, -2.0f})));
  EXPECT_TRUE(file->metadata().empty());
  EXPECT_EQ(file->find("c"), nullptr);
  EXPECT_THAT(complaint([&] { file->tensor("c"); }), HasSubstr("6: cannot find tensor 'c' in"));
}

TEST(Safetensors, UnalignedDataStillGivesATensor) {
  // 111 bytes of header put the F32 at an odd address of the map.
  std::string header = kTwo;
  while ((8 + header.size() + 4) % 4 != 1) header += ' ';
  const float values[2] = {1.5f, -2.0f};
  const auto file =
      open_bytes(raw_safetensors(header, "\1\2\3\4" + std::string(reinterpret_cast<const char*>(values), 8)));
  ASSERT_NE(reinterpret_cast<uintptr_t>(file->bytes("b").data()) % 4, 0u);
  const at::Tensor b = file->tensor("b");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(b.const_data_ptr()) % 4, 0u);
  EXPECT_TRUE(at::equal(b, at::tensor({1.5f, -2.0f})));
}

TEST(Safetensors, SizeMismatchNamesTheTensor) {
  EXPECT_THAT(
      open_complaint(raw_safetensors(R"({"w":{"dtype":"F32","shape":[1000,1000],"data_offsets":[0,4]}})", "1234")),
      HasSubstr("tensor 'w': shape [1000,1000] of F32 needs 4000000 bytes, data_offsets [0, 4] hold 4"));
}

TEST(Safetensors, DuplicateKey) {
  const std::string entry = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(open_complaint(raw_safetensors("{" + entry + "," + entry + "}", "1")), HasSubstr("duplicate key 'w'"));
}

TEST(Safetensors, HeaderTooLargeBeforeAllocation) {
  EXPECT_THAT(open_complaint(std::string("\x40\x9D\xDF\x07\0\0\0\0{", 9)),
              HasSubstr("header too large: 132095296 bytes (limit 100000000)"));
  EXPECT_THAT(open_complaint(std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{", 9)), HasSubstr("header too large"));
}

TEST(Safetensors, GitLfsPointer) {
  EXPECT_THAT(open_complaint("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
              HasSubstr("5: cannot read"));
  EXPECT_THAT(open_complaint("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
              HasSubstr("Git LFS pointer, not the file: run git lfs pull"));
}

TEST(Safetensors, Truncated) {
  EXPECT_THAT(open_complaint(""), HasSubstr("truncated: header needs 8 bytes, file has 0"));
  EXPECT_THAT(open_complaint(std::string("\x10\0\0\0\0\0\0\0{}", 10)),
              HasSubstr("truncated: header says 24 bytes, file has 10"));
  EXPECT_THAT(open_complaint(raw_safetensors(kTwo, "12345")),
              HasSubstr("truncated: header says 12 bytes of data, file has 5"));
}

TEST(Safetensors, TrailingBytes) {
  EXPECT_THAT(open_complaint(raw_safetensors(kTwo, "123456789012x")),
              HasSubstr("file not fully covered: 1 bytes after the last tensor"));
}

TEST(Safetensors, HolesAndOverlaps) {
  const auto two = [](const char* first, const char* second) {
    return raw_safetensors(fmt::format(R"({{"a":{{"dtype":"U8","shape":[2],"data_offsets":{}}},)"
                                       R"("b":{{"dtype":"U8","shape":[2],"data_offsets":{}}}}})",
                                       first, second),
                           "12345");
  };
  EXPECT_THAT(open_complaint(two("[0,2]", "[3,5]")), HasSubstr("tensor 'b': hole of 1 bytes before offset 3"));
  EXPECT_THAT(open_complaint(two("[1,3]", "[3,5]")), HasSubstr("tensor 'a': hole of 1 bytes before offset 1"));
  EXPECT_THAT(open_complaint(two("[0,2]", "[1,3]")), HasSubstr("tensor 'b': offset 1 overlaps"));
  EXPECT_THAT(open_complaint(two("[0,2]", "[0,2]")), HasSubstr("overlaps"));
  EXPECT_THAT(open_complaint(two("[2,0]", "[2,4]")), HasSubstr("tensor 'a': data_offsets [2, 0] run backwards"));
}

TEST(Safetensors, ZeroSizeTensors) {
  const auto file = open_bytes(raw_safetensors(R"({"x":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[1,1]},)"
                                               R"("y":{"dtype":"F32","shape":[3,0],"data_offsets":[0,0]},)"
                                               R"("z":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                                               R"("w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
                                               "7"));
  EXPECT_EQ(file->tensor("y").sizes(), at::IntArrayRef({3, 0}));
  EXPECT_EQ(file->tensor("z").numel(), 0);
  EXPECT_EQ(file->tensor("w").dim(), 0);
  EXPECT_EQ(file->tensor("w").item<int64_t>(), '7');
  EXPECT_EQ(file->bytes("x").size(), 0u);
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,0]}})", "")),
              HasSubstr("tensor 'x': shape [1] of F8_E4M3 needs 1 bytes, data_offsets [0, 0] hold 0"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[5,5]}})", "")),
              HasSubstr("hole of 5 bytes"));
}

TEST(Safetensors, ShapesThatOverflow) {
  const auto shaped = [](const char* shape) {
    return open_complaint(
        raw_safetensors(fmt::format(R"({{"x":{{"dtype":"F32","shape":{},"data_offsets":[0,0]}}}})", shape), ""));
  };
  EXPECT_THAT(shaped("[4294967296,4294967296]"), HasSubstr("overflows"));
  EXPECT_THAT(shaped("[9223372036854775807,2]"), HasSubstr("overflows"));
  EXPECT_THAT(shaped("[9223372036854775807,9223372036854775807,0]"), HasSubstr("overflows"));
  EXPECT_THAT(shaped("[18446744073709551615]"), HasSubstr("expected whole numbers from 0 to 2^63-1"));
  EXPECT_THAT(shaped("[-1]"), HasSubstr("shape holds -1"));
  EXPECT_THAT(shaped("[1.0]"), HasSubstr("shape holds 1.0"));
  EXPECT_THAT(shaped("3"), HasSubstr("shape is not an array"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "1")),
              HasSubstr("leaves part of a byte"));
}

// Depth must cost no stack, neither in reading nor in the message.
TEST(Safetensors, DeeplyNestedHeaders) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THAT(open_complaint(raw_safetensors(std::string("{\"x\":") + std::string(200'000, '['), "")),
              HasSubstr("not valid JSON"));
  EXPECT_THAT(open_complaint(raw_safetensors("{\"x\":" + deep + "}", "")), HasSubstr("has no 'dtype'"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F32","shape":)" + deep + "}}", "")),
              HasSubstr("tensor 'x': shape holds an array: expected whole numbers"));
  EXPECT_THAT(
      open_complaint(raw_safetensors(R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,)" + deep + "]}}", "")),
      HasSubstr("data_offsets holds an array"));
}

TEST(Safetensors, MetadataMayBeAbsentEmptyOrStringsOnly) {
  EXPECT_TRUE(open_bytes(raw_safetensors("{}", ""))->tensors().empty());
  EXPECT_TRUE(open_bytes(raw_safetensors(R"({"__metadata__":{}}   )", ""))->metadata().empty());
  EXPECT_THAT(open_bytes(raw_safetensors(R"({"__metadata__":{"k":"v"}})", ""))->metadata(),
              ElementsAre(Pair("k", "v")));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"__metadata__":[]})", "")), HasSubstr("not an object of strings"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"__metadata__":{"k":1}})", "")),
              HasSubstr("__metadata__ key 'k' is not a string"));
}

TEST(Safetensors, HeadersThatAreNotHeaders) {
  EXPECT_THAT(open_complaint(raw_safetensors(" {}", "")), HasSubstr("does not start with '{'"));
  EXPECT_THAT(open_complaint(raw_safetensors("{\"\xFF\":1}", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(open_complaint(raw_safetensors("{]", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":5})", "")), HasSubstr("tensor 'x': its entry has no 'dtype'"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F32","shape":[]}})", "")),
              HasSubstr("its entry has no 'data_offsets'"));
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}})", "")),
              HasSubstr("data_offsets is not a pair"));
}

TEST(Safetensors, UnknownDtypeIsNamed) {
  EXPECT_THAT(open_complaint(raw_safetensors(R"({"x":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", "1")),
              HasSubstr("unknown dtype 'F7': expected one of F32, BF16"));
}

TEST(Safetensors, EightBitFloatsGiveBytesButNoTensor) {
  const auto file = open_bytes(raw_safetensors(R"({"x":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", "ab"));
  EXPECT_EQ(file->bytes("x").size(), 2u);
  EXPECT_THAT(complaint([&] { file->tensor("x"); }), HasSubstr("6: cannot load tensor 'x'"));
  EXPECT_THAT(complaint([&] { file->tensor("x"); }), HasSubstr("dtype F8_E4M3 is not supported"));
}

TEST(Safetensors, TensorOutlivesTheFile) {
  auto file = open_bytes(raw_safetensors(kTwo, std::string(12, '\0')));
  const at::Tensor b = file->tensor("b");
  file.reset();
  EXPECT_TRUE(at::equal(b, at::zeros({2})));
}

TEST(SafetensorsWriter, RoundTripKeepsOrderMetadataAndRowMajorBytes) {
  const fs::path path = scratch() / "out.safetensors";
  const at::Tensor transposed = at::arange(6, at::kFloat).view({2, 3}).t();
  const at::Tensor half = at::arange(3, at::kFloat).to(at::kBFloat16);
  write_safetensors(path,
                    {named_bytes("z", transposed), named_bytes("empty", at::zeros({0, 4})), named_bytes("a", half)},
                    {{"tool", "x"}});
  const auto file = SafetensorsFile::open(path);
  std::vector<std::string> names;
  for (const TensorInfo& info : file->tensors()) names.push_back(info.name);
  EXPECT_THAT(names, UnorderedElementsAre("z", "empty", "a"));
  EXPECT_EQ(names.front(), "z");
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("format", "pt"), Pair("tool", "x")));
  EXPECT_TRUE(at::equal(file->tensor("z"), transposed));
  const float row_major[6] = {0, 3, 1, 4, 2, 5};
  EXPECT_EQ(std::memcmp(file->bytes("z").data(), row_major, sizeof row_major), 0);
  EXPECT_TRUE(at::equal(file->tensor("a"), half));
  const std::string bytes = get_file(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  EXPECT_EQ(length % 8, 0u);
}

TEST(SafetensorsWriter, TwoEmptyTensorsRoundTrip) {
  const fs::path path = scratch() / "out.safetensors";
  write_safetensors(path, {named_bytes("a", at::zeros({0})), named_bytes("b", at::zeros({2, 0}))});
  const auto file = SafetensorsFile::open(path);
  EXPECT_THAT(file->names(), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(file->tensor("b").sizes(), at::IntArrayRef({2, 0}));
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("format", "pt")));
}

TEST(SafetensorsWriter, KeepsAFormatThatIsThere) {
  const fs::path path = scratch() / "out.safetensors";
  write_safetensors(path, {}, {{"format", "mlx"}});
  EXPECT_EQ(SafetensorsFile::open(path)->metadata().at("format"), "mlx");
}

TEST(SafetensorsWriter, FailureLeavesTheTargetAlone) {
  const fs::path folder = scratch();
  put_file(folder / "out.safetensors", "before");
  const NamedBytes short_one{"w", "F32", {2}, [](const ByteSink& sink) { sink(std::as_bytes(std::span("123"))); }};
  EXPECT_THAT(complaint([&] { write_safetensors(folder / "out.safetensors", {short_one}); }),
              HasSubstr("70: cannot write"));
  EXPECT_EQ(get_file(folder / "out.safetensors"), "before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
  const NamedBytes ok = named_bytes("w", at::zeros({2}));
  EXPECT_THAT(complaint([&] {
                write_safetensors(folder / "out.safetensors", {ok, ok});
              }),
              HasSubstr("tensor 'w' twice"));
}

}  // namespace
}  // namespace suture::io
