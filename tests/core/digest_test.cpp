// SPDX-License-Identifier: Apache-2.0
#include "core/digest.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "temp_folder.h"

namespace suture {
namespace {

// Examples of FIPS 180-4.
constexpr std::string_view kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kMillionA = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, MatchesTheStandard) {
  EXPECT_EQ(sha256(std::string_view()), kEmpty);
  EXPECT_EQ(sha256("abc"), kAbc);
  EXPECT_EQ(sha256(std::string(1000000, 'a')), kMillionA);
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) { EXPECT_EQ(Sha256().update("a").update("").update("bc").hex(), kAbc); }

TEST(Sha256, OfAFile) {
  const test::TempFolder folder;
  write_atomically(folder / "a", std::string(1000000, 'a'));
  write_atomically(folder / "empty", "");
  EXPECT_EQ(sha256_file(folder / "a"), kMillionA);
  EXPECT_EQ(sha256_file(folder / "empty"), kEmpty);
}

}  // namespace
}  // namespace suture
