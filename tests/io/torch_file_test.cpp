// SPDX-License-Identifier: Apache-2.0
#include "io/torch_file.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/safetensors.h"
#include "raw_torch.h"
#include "support.h"

namespace suture::io {
namespace {

using namespace pickle;  // NOLINT: the opcodes' names
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const fs::path kFixtures = fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/io";

fs::path made(const std::string& bytes) {
  const fs::path path = scratch() / "made.bin";
  put_file(path, bytes);
  return path;
}

std::string checkpoint(const std::string& code, const std::vector<RawEntry>& more) {
  std::vector<RawEntry> entries = {{"m/data.pkl", code}};
  entries.insert(entries.end(), more.begin(), more.end());
  return raw_zip(entries);
}

std::string six_floats() {
  std::string bytes;
  for (int i = 0; i < 6; ++i) put(bytes, float(i));
  return bytes;
}

std::string open_complaint(const std::string& bytes) {
  return complaint([&] { TorchFile::open(made(bytes)); });
}

// What is said of one tensor on a storage of six floats.
std::string tensor_complaint(int64_t offset, const std::vector<int64_t>& shape, const std::vector<int64_t>& stride,
                             int64_t elements = 6) {
  return open_complaint(
      checkpoint(dictionary("w", tensor(storage("FloatStorage", "0", elements), offset, shape, stride)),
                 {{"m/data/0", six_floats()}}));
}

TEST(TorchFile, EqualsWhatTorchLoads) {
  const auto file = TorchFile::open(kFixtures / "torch-types.bin");
  const auto expected = SafetensorsFile::open(kFixtures / "torch-types.safetensors");
  ASSERT_EQ(file->tensors().size(), expected->tensors().size());
  ASSERT_EQ(file->tensors().size(), 27u);
  for (const TensorInfo& info : file->tensors()) {
    const TensorInfo& want = expected->info(info.name);
    EXPECT_EQ(info.dtype, want.dtype) << info.name;
    EXPECT_EQ(info.shape, want.shape) << info.name;
    EXPECT_EQ(info.size(), want.size()) << info.name;
    EXPECT_TRUE(std::ranges::equal(file->bytes(info.name), expected->bytes(info.name))) << info.name;
    if (info.dtype.starts_with("F8")) continue;
    EXPECT_TRUE(file->tensor(info.name).is_contiguous()) << info.name;
    EXPECT_TRUE(at::equal(file->tensor(info.name), expected->tensor(info.name))) << info.name;
  }
}

TEST(TorchFile, NamesAreInTheOrderOfTheDictionary) {
  const auto names = TorchFile::open(kFixtures / "torch-types.bin")->names();
  EXPECT_EQ(names.front(), "float32");
  EXPECT_EQ(names.back(), "expanded_once");
  EXPECT_THAT(TorchFile::open(kFixtures / "torch-protocol4.bin")->names(), ElementsAre("embed", "head", "transposed"));
}

TEST(TorchFile, TensorsAreViewsThatOutliveTheFile) {
  auto file = TorchFile::open(kFixtures / "torch-types.bin");
  const at::Tensor rows = file->tensor("rows"), embed = file->tensor("embed");
  EXPECT_EQ(rows.const_data_ptr<float>(), embed.const_data_ptr<float>() + 6) << "one storage, no copy";
  EXPECT_EQ(rows.const_data_ptr(), static_cast<const void*>(file->bytes("rows").data()));
  file.reset();
  EXPECT_TRUE(at::equal(rows, embed.slice(0, 1, 3)));
}

TEST(TorchFile, SharedTensorsAreKnown) {
  const auto file = TorchFile::open(kFixtures / "torch-types.bin");
  EXPECT_EQ(file->first_alias("head"), "embed");
  EXPECT_EQ(file->first_alias("embed"), "embed");
  EXPECT_EQ(file->first_alias("rows"), "rows") << "a part is not the same tensor";
  EXPECT_EQ(file->first_alias("transposed"), "transposed");
  EXPECT_EQ(file->first_alias("empty"), "empty");
}

TEST(TorchFile, EightBitFloatsGiveBytesButNoTensor) {
  const auto file = TorchFile::open(kFixtures / "torch-types.bin");
  EXPECT_EQ(file->bytes("float8_e4m3fn").size(), 6u);
  EXPECT_THAT(complaint([&] { file->tensor("float8_e4m3fn"); }), HasSubstr("dtype F8_E4M3 is not supported"));
  EXPECT_THAT(complaint([&] { file->tensor("none"); }), HasSubstr("6: cannot find tensor 'none'"));
}

TEST(TorchFile, StridesAndUnalignedEntries) {
  // The archive's headers are not padded, so the storage lies at any address.
  for (const char* folder : {"m", "mm", "mmm", "mmmm"}) {
    const auto code = dictionary("w", tensor(storage("FloatStorage", "0", 6), 1, {2, 2}, {1, 3}));
    const std::string prefix = std::string(folder) + "/";
    const auto file = TorchFile::open(made(raw_zip({{prefix + "data.pkl", code}, {prefix + "data/0", six_floats()}})));
    EXPECT_TRUE(at::equal(file->tensor("w"), at::tensor({1.f, 4.f, 2.f, 5.f}).view({2, 2})));
    const float row_major[4] = {1, 4, 2, 5};
    EXPECT_EQ(std::memcmp(file->bytes("w").data(), row_major, sizeof row_major), 0);
  }
}

TEST(TorchFile, StoragesThatDoNotFit) {
  EXPECT_EQ(tensor_complaint(0, {2, 3}, {3, 1}), "");
  EXPECT_EQ(tensor_complaint(6, {0, 3}, {3, 1}), "");
  EXPECT_EQ(tensor_complaint(5, {}, {}), "");
  EXPECT_THAT(tensor_complaint(1, {2, 3}, {3, 1}),
              HasSubstr("tensor 'w': shape [2,3] with strides [3,1] at offset 1 leaves its storage of 6 elements"));
  EXPECT_THAT(tensor_complaint(6, {}, {}), HasSubstr("leaves its storage of 6"));
  EXPECT_THAT(tensor_complaint(0, {2, 3}, {4, 1}), HasSubstr("leaves its storage of 6"));
  EXPECT_THAT(tensor_complaint(0, {1, 2}, {1, 6}), HasSubstr("leaves its storage of 6"));
  EXPECT_THAT(tensor_complaint(0, {2, 3}, {3, 1}, 7), HasSubstr("storage of 7 F32 needs more than the 24 bytes"));
  EXPECT_THAT(tensor_complaint(0, {1}, {1}, -1), HasSubstr("storage of -1 F32"));
  EXPECT_THAT(tensor_complaint(0, {1}, {1}, int64_t(1) << 62), HasSubstr("needs more than the 24 bytes"));
  EXPECT_THAT(open_complaint(checkpoint(dictionary("w", tensor(storage("FloatStorage", "../0", 1), 0, {1}, {1})),
                                        {{"m/data/0", "1234"}})),
              HasSubstr("its storage 'data/../0' is not in the archive"));
}

TEST(TorchFile, ShapesThatLie) {
  const int64_t huge = int64_t(1) << 40;
  EXPECT_THAT(tensor_complaint(0, {2, 3}, {1}), HasSubstr("do not fit together"));
  EXPECT_THAT(tensor_complaint(0, {-1}, {1}), HasSubstr("do not fit together"));
  EXPECT_THAT(tensor_complaint(5, {6}, {-1}), HasSubstr("do not fit together"));
  EXPECT_THAT(tensor_complaint(-1, {1}, {1}), HasSubstr("do not fit together"));
  EXPECT_THAT(tensor_complaint(0, {huge}, {0}), HasSubstr("repeats elements of its storage of 6"));
  EXPECT_THAT(tensor_complaint(0, {huge, huge}, {0, 0}), HasSubstr("leaves its storage"));
  EXPECT_THAT(tensor_complaint(0, {huge, huge, 0}, {0, 0, 0}), HasSubstr("leaves its storage"));
  EXPECT_THAT(tensor_complaint(0, {2}, {INT64_MAX}), HasSubstr("leaves its storage"));
  EXPECT_THAT(tensor_complaint(INT64_MAX, {2}, {1}), HasSubstr("leaves its storage"));
}

// The stride of a dimension of one is never walked, and may be anything.
TEST(TorchFile, StridesOfSingleDimensionsDoNotMatter) {
  const auto file = TorchFile::open(
      made(checkpoint(dictionary("w", tensor(storage("FloatStorage", "0", 6), 0, {2, 1, 2}, {1, INT64_MAX, 3})),
                      {{"m/data/0", six_floats()}})));
  EXPECT_TRUE(at::equal(file->tensor("w"), at::tensor({0.f, 3.f, 1.f, 4.f}).view({2, 1, 2})));
}

TEST(TorchFile, HostileProgramsAreRefused) {
  EXPECT_THAT(
      open_complaint(checkpoint(global("posix", "system") + "(" + text("true") + "tR.", {})),
      HasSubstr("made.bin: the pickle asks for 'posix.system', which is not allowed; convert it to safetensors"));
}

TEST(TorchFile, NamesMustBeUtf8) {
  EXPECT_THAT(open_complaint(checkpoint(dictionary("\xff", tensor(storage("FloatStorage", "0", 1), 0, {1}, {1})),
                                        {{"m/data/0", "1234"}})),
              HasSubstr("tensor '?': its name is not UTF-8"));
}

TEST(TorchFile, OtherFormatsAreNamed) {
  EXPECT_THAT(complaint([&] { TorchFile::open(kFixtures / "torch-legacy.bin"); }),
              HasSubstr("format of PyTorch before 1.6; load it with torch.load(weights_only=True)"));
  EXPECT_THAT(open_complaint(std::string(257, '\0') + "ustar and so on"), HasSubstr("format of PyTorch before 1.6"));
  EXPECT_THAT(open_complaint("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("run git lfs pull"));
  EXPECT_THAT(open_complaint("x"), HasSubstr("does not start as a zip archive"));
  EXPECT_THAT(open_complaint(""), HasSubstr("does not start as a zip archive"));
  EXPECT_THAT(open_complaint(raw_zip({{"m/readme", "1"}})), HasSubstr("zip archive without data.pkl"));
  EXPECT_THAT(open_complaint(raw_zip({{"m/data.pkl", "}."}, {"m/constants.pkl", "}."}})),
              HasSubstr("TorchScript archive, which holds code"));
  EXPECT_THAT(open_complaint(checkpoint("}.", {{"m/byteorder", "big"}})), HasSubstr("not little endian"));
  EXPECT_EQ(open_complaint(checkpoint("}.", {{"m/byteorder", "little"}})), "");
  EXPECT_THAT(open_complaint(checkpoint(dictionary("state_dict", "}"), {})),
              HasSubstr("none of its keys ('state_dict', ...) is a tensor"));
}

// Whatever stands in the pickle: an error, or tensors inside the file. The mutations are fixed, so a failure repeats.
TEST(TorchFile, AnyByteOfThePickleMayBeWrong) {
  const std::string whole = get_file(kFixtures / "torch-types.bin");
  const size_t begin = whole.find("\x80\x02"), end = whole.find("PK", begin);
  ASSERT_LT(end, whole.size());
  const fs::path path = scratch() / "made.bin";
  int opened = 0;
  for (size_t at = begin; at < end; ++at) {
    std::string bytes = whole;
    bytes[at] = char(uint8_t(bytes[at]) ^ uint8_t(1 + at * 37 % 255));
    put_file(path, bytes);
    const std::string said = complaint([&] {
      const auto file = TorchFile::open(path);
      ++opened;
      for (const TensorInfo& info : file->tensors()) EXPECT_EQ(file->bytes(info.name).size(), info.size());
    });
    EXPECT_TRUE(said.empty() || said.starts_with("5: cannot read") || said.starts_with("6: cannot read")) << said;
  }
  EXPECT_GT(opened, 0) << "names and numbers may change without harm";
}

TEST(TorchFile, EveryTruncationOfAGoodFileIsRefused) {
  const std::string bytes = get_file(kFixtures / "torch-types.bin");
  for (size_t size = 0; size < bytes.size(); size += 97)
    EXPECT_THAT(open_complaint(bytes.substr(0, size)), StartsWith("5: cannot read")) << size;
}

}  // namespace
}  // namespace suture::io
