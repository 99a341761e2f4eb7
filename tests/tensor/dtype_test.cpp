// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace suture::tensor {
namespace {

using ::testing::HasSubstr;

TEST(Dtype, SpellingsAgree) {
  EXPECT_EQ(dtype_from_file("BF16"), at::kBFloat16);
  EXPECT_EQ(dtype_from_config("torch.bfloat16"), at::kBFloat16);
  EXPECT_EQ(dtype_from_config("bfloat16"), at::kBFloat16);
  EXPECT_EQ(dtype_from_flag("bf16"), at::kBFloat16);
  EXPECT_EQ(dtype_from_flag("torch.float32"), at::kFloat);
  EXPECT_EQ(file_spelling(at::kHalf), "F16");
  EXPECT_EQ(config_spelling(at::kHalf), "float16");
  EXPECT_EQ(flag_spelling(at::kHalf), "fp16");
}

TEST(Dtype, EverySpellingReadsBack) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    EXPECT_EQ(dtype_from_file(file_spelling(dtype)), dtype);
    EXPECT_EQ(dtype_from_config(config_spelling(dtype)), dtype);
    EXPECT_EQ(dtype_from_flag(flag_spelling(dtype)), dtype);
  }
  for (const auto dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong})
    EXPECT_EQ(dtype_from_file(file_spelling(dtype)), dtype);
}

template <class Use>
std::string complaint(Use use) {
  try {
    use();
  } catch (const Error& error) {
    return fmt::format("{}: {}", int(error.code()), error.what());
  }
  return "";
}

TEST(Dtype, ErrorsListWhatIsAccepted) {
  EXPECT_THAT(complaint([] { dtype_from_flag("bf-16"); }),
              HasSubstr("2: cannot compute in dtype 'bf-16': expected one of fp32, bf16, fp16, fp64"));
  EXPECT_THAT(complaint([] { dtype_from_flag("int64"); }), HasSubstr("cannot compute in dtype 'int64'"));
  EXPECT_THAT(complaint([] { dtype_from_config("half"); }),
              HasSubstr("6: cannot use dtype 'half': expected one of float32"));
  EXPECT_THAT(complaint([] { dtype_from_file("F8_E4M3"); }), HasSubstr("6: cannot use dtype 'F8_E4M3'"));
  EXPECT_FALSE(find_file_dtype("f32").has_value());
}

}  // namespace
}  // namespace suture::tensor
