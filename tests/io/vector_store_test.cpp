// SPDX-License-Identifier: Apache-2.0
#include "io/vector_store.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "io/hdf5.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::HasSubstr;

StoredVector some_vector(std::string name, int64_t width) {
  return {.name = std::move(name),
          .value_D = at::arange(width, at::kFloat),
          .site = "resid_out",
          .layer = 8,
          .scale = 1.5,
          .where = "last prompt token",
          .method = "amplification",
          .source_dtype = "bfloat16",
          .attributes = {{"heads", {{1, 2}}}}};
}

VectorStore some_store() {
  VectorStore store;
  store.provenance = {{"model", "abc"}, {"seed", 3}};
  store.vectors = {some_vector("z first", 4), some_vector("a second", 4)};
  store.tables["head_scores_LH"] = at::ones({2, 3});
  return store;
}

TEST(VectorStore, RoundTripKeepsEverythingAndTheOrder) {
  const fs::path path = scratch() / "v.h5";
  const VectorStore store = some_store();
  write_vector_store(path, store);
  const VectorStore got = read_vector_store(path);
  EXPECT_EQ(got.provenance, store.provenance);
  ASSERT_EQ(got.vectors.size(), 2u);
  EXPECT_EQ(got.vectors[0].name, "z first");
  const StoredVector& v = got.vector("a second");
  EXPECT_TRUE(at::equal(v.value_D, at::arange(4, at::kFloat)));
  EXPECT_EQ(v.site, "resid_out");
  EXPECT_EQ(v.layer, 8);
  EXPECT_EQ(v.scale, 1.5);
  EXPECT_EQ(v.where, "last prompt token");
  EXPECT_EQ(v.method, "amplification");
  EXPECT_EQ(v.source_dtype, "bfloat16");
  EXPECT_EQ(v.attributes, store.vectors[1].attributes);
  EXPECT_TRUE(at::equal(got.tables.at("head_scores_LH"), at::ones({2, 3})));
}

TEST(VectorStore, TheSameStoreGivesTheSameBytes) {
  const fs::path folder = scratch();
  write_vector_store(folder / "a.h5", some_store());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a time stamp, in seconds, would show
  write_vector_store(folder / "b.h5", some_store());
  EXPECT_EQ(get_file(folder / "a.h5"), get_file(folder / "b.h5"));
}

TEST(VectorStore, AMissingNameListsTheOthers) {
  EXPECT_THAT(complaint([] { some_store().vector("none"); }),
              HasSubstr("4: cannot find vector 'none': the store has z first, a second"));
  EXPECT_THAT(complaint([] { VectorStore().vector("none"); }), HasSubstr("the store has none"));
}

TEST(VectorStore, WritingRefusesWhatReadingWould) {
  const fs::path path = scratch() / "v.h5";
  const auto refused = [&](auto change) {
    VectorStore store = some_store();
    change(store);
    return complaint([&] { write_vector_store(path, store); });
  };
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].value_D = at::full({4}, NAN); }),
              HasSubstr("7: cannot use vector 'z first'"));
  EXPECT_THAT(refused([](auto& s) { s.tables["t"] = at::full({4}, INFINITY); }), HasSubstr("7: cannot use table 't'"));
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].value_D = at::ones({2, 2}); }), HasSubstr("expected [D], got [2, 2]"));
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].value_D = at::ones({5}); }),
              HasSubstr("width 4, but 'z first' at the same site resid_out has 5"));
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].value_D = at::ones({4}, at::kDouble); }), HasSubstr("float32"));
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].name = "a/b"; }), HasSubstr("has no '/'"));
  EXPECT_THAT(refused([](auto& s) { s.vectors[0].name = s.vectors[1].name; }), HasSubstr("the name comes twice"));
  EXPECT_FALSE(fs::exists(path));
}

TEST(VectorStore, ReadingRefusesNanAndOtherSchemas) {
  const fs::path path = scratch() / "v.h5";
  Hdf5File::write(path, [](Hdf5Group& root) {
    write_schema(root, "suture.vectors", 1);
    root.write_json("provenance", Json::object());
    root.create_group("vectors");
    root.create_group("tables").write("t", at::full({2}, NAN));
  });
  EXPECT_THAT(complaint([&] { read_vector_store(path); }), HasSubstr("4: cannot use table 't'"));
  Hdf5File::write(path, [](Hdf5Group& root) { write_schema(root, "suture.vectors", 99); });
  EXPECT_THAT(complaint([&] { read_vector_store(path); }), HasSubstr("version 99 is not supported"));
}

}  // namespace
}  // namespace suture::io
