// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "support.h"

namespace suture::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Hdf5, TensorsOfEveryDtypeAndRankReadBack) {
  const fs::path path = scratch() / "a.h5";
  const std::vector<at::Tensor> tensors = {at::arange(24, at::kFloat).view({2, 3, 4}),
                                           at::arange(6, at::kDouble).view({2, 3}).t(),
                                           at::arange(5, at::kLong),
                                           at::arange(5, at::kByte),
                                           at::tensor(2.5f),
                                           at::zeros({0, 4})};
  Hdf5File::write(path, [&](Hdf5Group& root) {
    for (size_t i = 0; i < tensors.size(); ++i) root.write(fmt::format("t{}", i), tensors[i]);
  });
  const Hdf5Group root = Hdf5File::open(path);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor got = root.read(fmt::format("t{}", i));
    EXPECT_EQ(got.scalar_type(), tensors[i].scalar_type());
    EXPECT_EQ(got.sizes(), tensors[i].sizes());
    EXPECT_TRUE(at::equal(got, tensors[i])) << i;
  }
  EXPECT_THAT(complaint([&] { root.read("none"); }), HasSubstr("5: cannot read " + path.string() + ":/none"));
}

TEST(Hdf5, TextsAttributesAndGroups) {
  const fs::path path = scratch() / "a.h5";
  const std::string large(100'000, 'x');  // above HDF5's bound of 64 KiB on the header of an object
  Hdf5File::write(path, [&](Hdf5Group& root) {
    Hdf5Group group = root.create_group("gro up");
    group.set_text("name", "naïve 🦙");
    group.set_text("empty", "");
    group.set_text("large", large);
    group.set_integer("n", -5);
    group.set_number("x", 0.1);
    group.write_text("large", large);
    group.write_json("json", {{"b", 1}, {"a", {1, 2}}});
    group.write_bytes("bytes", std::as_bytes(std::span("a\0b", 3)));
  });
  const Hdf5Group root = Hdf5File::open(path);
  EXPECT_THAT(root.names(), ElementsAre("gro up"));
  EXPECT_TRUE(root.has("gro up"));
  EXPECT_FALSE(root.has("other"));
  const Hdf5Group group = root.group("gro up");
  EXPECT_EQ(group.text("name"), "naïve 🦙");
  EXPECT_EQ(group.text("empty"), "");
  EXPECT_EQ(group.text("large"), large);
  EXPECT_EQ(group.integer("n"), -5);
  EXPECT_EQ(group.number("x"), 0.1);
  EXPECT_EQ(group.read_text("large"), large);
  EXPECT_EQ(group.read_json("json").dump(), R"({"b":1,"a":[1,2]})");
  EXPECT_EQ(group.read_bytes("bytes").size(), 3u);
  EXPECT_THAT(complaint([&] { group.integer("name"); }), HasSubstr("/gro up/@name: expected one integer"));
  EXPECT_THAT(complaint([&] { group.text("n"); }), HasSubstr("expected one text"));
  EXPECT_THAT(complaint([&] { group.read("json"); }), HasSubstr("expected float32, float64, uint8 or int64"));
}

TEST(Hdf5, BrokenAndMissingFiles) {
  const fs::path folder = scratch();
  EXPECT_THAT(complaint([&] { Hdf5File::open(folder / "none.h5"); }), HasSubstr("4: cannot find HDF5 file"));
  put_file(folder / "text.h5", "not HDF5");
  EXPECT_THAT(complaint([&] { Hdf5File::open(folder / "text.h5"); }), HasSubstr("5: cannot read"));
  Hdf5File::write(folder / "whole.h5", [](Hdf5Group& root) { root.write("t", at::zeros({10'000})); });
  const std::string whole = get_file(folder / "whole.h5");
  put_file(folder / "cut.h5", std::string_view(whole).substr(0, whole.size() / 2));
  EXPECT_THAT(complaint([&] { Hdf5File::open(folder / "cut.h5"); }), HasSubstr("truncated"));
}

TEST(Hdf5, FailureWhileWritingLeavesTheTargetAlone) {
  const fs::path folder = scratch();
  put_file(folder / "a.h5", "before");
  EXPECT_THAT(complaint([&] {
                Hdf5File::write(folder / "a.h5", [](Hdf5Group& root) { root.write("x", at::zeros({2}, at::kBool)); });
              }),
              HasSubstr("70: cannot write"));
  EXPECT_EQ(get_file(folder / "a.h5"), "before");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
}

TEST(Hdf5, ALockedFileNamesTheSetting) {
  const fs::path path = scratch() / "a.h5";
  Hdf5File::write(path, [](Hdf5Group& root) { root.set_integer("n", 1); });
  const int held = ::open(path.c_str(), O_RDWR);
  ASSERT_EQ(::flock(held, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(complaint([&] { Hdf5File::open(path); }), HasSubstr("HDF5_USE_FILE_LOCKING=FALSE"));
  ::close(held);
  EXPECT_EQ(Hdf5File::open(path).integer("n"), 1);
}

TEST(Hdf5, SchemasAreChecked) {
  const fs::path path = scratch() / "a.h5";
  const auto opened = [&](const char* schema, int64_t version) {
    Hdf5File::write(path, [&](Hdf5Group& root) { write_schema(root, schema, version); });
    return complaint([&] { require_schema(Hdf5File::open(path), path, "suture.vectors", 1); });
  };
  EXPECT_EQ(opened("suture.vectors", 1), "");
  EXPECT_THAT(opened("suture.delta", 1), HasSubstr("4: cannot use"));
  EXPECT_THAT(opened("suture.delta", 1), HasSubstr("it is a suture.delta file, expected suture.vectors"));
  EXPECT_THAT(opened("suture.vectors", 2), HasSubstr("version 2 is not supported (1..1 are)"));
  Hdf5File::write(path, [](Hdf5Group&) {});
  EXPECT_THAT(complaint([&] { require_schema(Hdf5File::open(path), path, "suture.vectors", 1); }),
              HasSubstr("it has no schema and version"));
}

}  // namespace
}  // namespace suture::io
