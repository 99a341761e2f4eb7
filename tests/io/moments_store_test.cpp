// SPDX-License-Identifier: Apache-2.0
#include "io/moments_store.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

tensor::SecondMoment some_moment(int64_t width, int64_t rows) {
  tensor::SecondMoment moment(width);
  moment.add(at::ones({rows, width}));
  return moment;
}

TEST(MomentsStore, EntriesAreFoundByTheirWholeKey) {
  const fs::path path = scratch() / "m.h5";
  const MomentsKey first{"model", 3, "data", 5}, second{"model", 4, "data", 7};
  EXPECT_FALSE(find_moments(path, first).has_value());
  EXPECT_TRUE(list_moments(path).empty());
  put_moments(path, first, some_moment(4, 5), {{"k", 1}});
  put_moments(path, second, some_moment(6, 7), {{"k", 2}});
  const auto found = find_moments(path, first, 4);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->count(), 5);
  EXPECT_TRUE(at::equal(found->sum_FF(), some_moment(4, 5).sum_FF()));
  EXPECT_EQ(find_moments(path, second)->width(), 6);
  EXPECT_FALSE(find_moments(path, {"model", 3, "other", 5}).has_value());
  EXPECT_FALSE(find_moments(path, {"model", 3, "data", 6}).has_value());
  const auto entries = list_moments(path);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].key, first);
  EXPECT_EQ(entries[1].width, 6);
  EXPECT_EQ(entries[1].provenance["k"], 2);
}

TEST(MomentsStore, PutReplacesTheSameKey) {
  const fs::path path = scratch() / "m.h5";
  const MomentsKey key{"model", 3, "data", 5};
  put_moments(path, key, some_moment(4, 5), Json::object());
  put_moments(path, key, tensor::SecondMoment(at::eye(4, at::kDouble), 5), Json::object());
  EXPECT_EQ(list_moments(path).size(), 1u);
  EXPECT_TRUE(at::equal(find_moments(path, key)->sum_FF(), at::eye(4, at::kDouble)));
}

TEST(MomentsStore, AnotherModelOrWidthIsRefusedWithBothValues) {
  const fs::path path = scratch() / "m.h5";
  const MomentsKey key{"model A", 3, "data", 5};
  put_moments(path, key, some_moment(4, 5), Json::object());
  const std::string before = get_file(path);
  const std::string other_model =
      "4: cannot use " + path.string() + ": its moments are of model model A, this model is model B";
  EXPECT_THAT(complaint([&] { find_moments(path, {"model B", 3, "data", 5}); }), HasSubstr(other_model));
  EXPECT_THAT(complaint([&] {
                put_moments(path, {"model B", 9, "data", 5}, some_moment(4, 5), {});
              }),
              HasSubstr(other_model));
  EXPECT_THAT(complaint([&] { find_moments(path, key, 8); }), HasSubstr("layer 3 have width 4, expected 8"));
  EXPECT_THAT(complaint([&] {
                put_moments(path, {"model A", 3, "more", 5}, some_moment(6, 5), {});
              }),
              HasSubstr("layer 3 have width 4, these have 6"));
  EXPECT_THAT(complaint([&] { put_moments(path, key, some_moment(4, 6), {}); }),
              HasSubstr("70: cannot store moments of 6 rows"));
  EXPECT_EQ(get_file(path), before);
}

}  // namespace
}  // namespace suture::io
