// SPDX-License-Identifier: Apache-2.0
#include "io/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_torch.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

std::string contents(const MappedFile& map, const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(map.bytes().data()) + entry.begin, entry.end - entry.begin};
}

std::string list_complaint(std::string_view bytes) {
  const fs::path path = scratch() / "made.zip";
  put_file(path, bytes);
  const MappedFile map(path);
  return complaint([&] { list_stored_zip(map); });
}

class ZipWidth : public ::testing::TestWithParam<bool> {};

TEST_P(ZipWidth, EntriesAreFound) {
  const fs::path path = scratch() / "made.zip";
  put_file(path, raw_zip({{"a/x", "one"}, {"a/empty", ""}, {"a/y", "three"}}, GetParam()));
  const MappedFile map(path);
  const auto entries = list_stored_zip(map);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, "a/x");
  EXPECT_EQ(contents(map, entries[0]), "one");
  EXPECT_EQ(contents(map, entries[1]), "");
  EXPECT_EQ(contents(map, entries[2]), "three");
}

TEST_P(ZipWidth, EveryTruncationIsRefused) {
  const std::string whole = raw_zip({{"a/x", "one"}, {"a/y", "three"}}, GetParam());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(list_complaint(whole.substr(0, size)), HasSubstr("5: cannot read")) << size;
}

// Whatever stands in the directory: an error or entries inside the file, never a read outside (run with sanitizers).
TEST_P(ZipWidth, AnyByteOfTheDirectoryMayBeWrong) {
  const std::string whole = raw_zip({{"a/x", "one"}, {"a/y", "three"}}, GetParam());
  const fs::path path = scratch() / "made.zip";
  for (size_t at = whole.find("PK\1\2"); at < whole.size(); ++at)
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string bytes = whole;
      bytes[at] = value;
      put_file(path, bytes);
      const MappedFile map(path);
      complaint([&] {
        for (const ZipEntry& entry : list_stored_zip(map)) {
          EXPECT_LE(entry.begin, entry.end);
          EXPECT_LE(entry.end, bytes.size());
        }
      });
    }
}

INSTANTIATE_TEST_SUITE_P(Zip, ZipWidth, ::testing::Bool());

TEST(ZipArchive, WhatIsNotStoredIsRefused) {
  EXPECT_THAT(list_complaint(raw_zip({{"a/x", "one", 8, 0}})), HasSubstr("6: cannot read"));
  EXPECT_THAT(list_complaint(raw_zip({{"a/x", "one", 8, 0}})), HasSubstr("'a/x' is compressed or encrypted"));
  EXPECT_THAT(list_complaint(raw_zip({{"a/x", "one", 0, 1}})), HasSubstr("compressed or encrypted"));
}

TEST(ZipArchive, BrokenDirectories) {
  EXPECT_THAT(list_complaint("PK\3\4 and no more than that, but some bytes"), HasSubstr("no zip directory at its end"));
  EXPECT_THAT(list_complaint(raw_zip({{"a/x", "1"}, {"a/x", "2"}})), HasSubstr("duplicate entry 'a/x'"));
  std::string bytes = raw_zip({{"a/x", "1"}});
  bytes[30] = 'b';  // of the name before the data
  EXPECT_THAT(list_complaint(bytes), HasSubstr("entry 'a/x' has another name at offset 0"));
  bytes = raw_zip({{"a/x", "1"}});
  bytes[bytes.size() - 22 + 10] = 2;  // number of entries
  EXPECT_THAT(list_complaint(bytes), HasSubstr("says 2 entries"));
  bytes[bytes.size() - 22 + 19] = '\x7f';  // offset of the directory
  EXPECT_THAT(list_complaint(bytes), HasSubstr("leaves the file"));
}

}  // namespace
}  // namespace suture::io
