// SPDX-License-Identifier: Apache-2.0
#include "io/tensor_folder.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/json.h"
#include "support.h"

namespace suture::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

const fs::path kFixtures = fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/io";
constexpr const char* kIndexName = "model.safetensors.index.json";

at::Tensor numbers(int64_t n, float start) { return at::arange(n, at::kFloat) + start; }

// Two shards with free names, an index, a config, a sub-folder and stale weights of another format.
fs::path sharded_source(const fs::path& folder) {
  write_safetensors(folder / "first.safetensors", {named_bytes("b", numbers(3, 1)), named_bytes("a", numbers(2, 5))},
                    {{"format", "pt"}, {"note", "kept"}});
  write_safetensors(folder / "second.safetensors", {named_bytes("c", numbers(4, 9).to(at::kBFloat16))});
  put_file(
      folder / kIndexName,
      R"({"metadata":{"total_size":28,"extra":1},"weight_map":{"a":"first.safetensors","b":"first.safetensors","c":"second.safetensors"}})");
  put_file(folder / "config.json", "{}\n");
  put_file(folder / "LICENSE", "text");
  put_file(folder / "original/weights.safetensors", "not read");
  put_file(folder / "pytorch_model.bin", "old");
  return folder;
}

fs::path empty_folder(const fs::path& path) {
  fs::create_directories(path);
  return path;
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

TEST(TensorFolder, FollowsTheIndex) {
  const TensorFolder folder = TensorFolder::open(sharded_source(scratch()));
  EXPECT_THAT(folder.names(), ElementsAre("b", "a", "c"));
  EXPECT_EQ(folder.file_of("c").filename(), "second.safetensors");
  EXPECT_EQ(folder.total_bytes(), 28u);
  EXPECT_TRUE(at::equal(folder.tensor("a"), numbers(2, 5)));
  EXPECT_THAT(complaint([&] { folder.tensor("none"); }), HasSubstr("6: cannot find tensor 'none'"));
}

TEST(TensorFolder, SingleFileWinsAndOtherFilesAreNotRead) {
  const fs::path folder = sharded_source(scratch());
  write_safetensors(folder / "model.safetensors", {named_bytes("only", numbers(1, 0))});
  put_file(folder / "consolidated.safetensors", "not read");
  EXPECT_THAT(TensorFolder::open(folder).names(), ElementsAre("only"));
}

TEST(TensorFolder, MissingShardsAreListed) {
  const fs::path folder = sharded_source(scratch());
  fs::remove(folder / "second.safetensors");
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder); }), HasSubstr("1 of 2 shards missing: second.safetensors"));
  fs::create_symlink("../blobs/gone", folder / "second.safetensors");
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder); }), HasSubstr("1 of 2 shards missing: second.safetensors"));
  fs::remove(folder / "first.safetensors");
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder); }),
              HasSubstr("5: cannot read " + folder.string() +
                        ": 2 of 2 shards missing: first.safetensors, second.safetensors"));
}

TEST(TensorFolder, OtherWeightsBesideShardsAreNotRead) {
  const fs::path folder = sharded_source(scratch());
  write_safetensors(folder / "consolidated.safetensors", {named_bytes("a", numbers(9, 0))});
  put_file(folder / "params.json", "{}");
  const TensorFolder opened = TensorFolder::open(folder);
  EXPECT_THAT(opened.names(), ElementsAre("b", "a", "c"));
  EXPECT_TRUE(at::equal(opened.tensor("a"), numbers(2, 5)));
}

TEST(TensorFolder, ShardsMayBeLinksIntoACache) {
  const fs::path root = scratch(), folder = sharded_source(root / "snapshot");
  fs::create_directories(root / "blobs");
  fs::rename(folder / "first.safetensors", root / "blobs/0123");
  fs::create_symlink("../blobs/0123", folder / "first.safetensors");
  EXPECT_EQ(TensorFolder::open(folder).file_of("a").filename(), "first.safetensors");
  const fs::path out = empty_folder(root / "out");
  rewrite_folder(folder, {}, out);
  EXPECT_FALSE(fs::is_symlink(out / "first.safetensors"));
  EXPECT_TRUE(at::equal(TensorFolder::open(out).tensor("a"), numbers(2, 5)));
}

TEST(TensorFolder, BrokenIndexesAreRefused) {
  const fs::path folder = sharded_source(scratch());
  const auto with_index = [&](const char* text) {
    put_file(folder / kIndexName, text);
    return complaint([&] { TensorFolder::open(folder); });
  };
  EXPECT_THAT(with_index("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("5: cannot read"));
  EXPECT_THAT(with_index("[]"), HasSubstr("no 'weight_map' object"));
  EXPECT_THAT(with_index(R"({"weight_map":{"a":1}})"), HasSubstr("weight_map of 'a' is not a text"));
  EXPECT_THAT(with_index(R"({"weight_map":{"a":"x","a":"y"}})"), HasSubstr("duplicate key 'a'"));
}

TEST(TensorFolder, UnsafeShardNamesAreRefused) {
  const fs::path folder = scratch();
  for (const char* shard : {"../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", ""}) {
    put_file(folder / kIndexName, fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", shard));
    EXPECT_THAT(complaint([&] { TensorFolder::open(folder); }), HasSubstr("expected a file name without folders"))
        << shard;
  }
}

TEST(TensorFolder, IndexAndShardsMustAgree) {
  const fs::path folder = sharded_source(scratch());
  const auto with_map = [&](const char* map) {
    put_file(folder / kIndexName, fmt::format(R"({{"weight_map":{}}})", map));
    return complaint([&] { TensorFolder::open(folder); });
  };
  EXPECT_THAT(with_map(R"({"a":"first.safetensors","b":"first.safetensors","d":"first.safetensors"})"),
              HasSubstr("the index places tensor 'd' in first.safetensors, which does not hold it"));
  EXPECT_THAT(with_map(R"({"a":"first.safetensors"})"), HasSubstr("holds tensor 'b', which the index does not list"));
  EXPECT_THAT(with_map(R"({"a":"first.safetensors","b":"second.safetensors","c":"second.safetensors"})"),
              HasSubstr("holds tensor 'b', which the index places in second.safetensors"));
  EXPECT_THAT(with_map("{}"), HasSubstr("weight_map is empty"));
  EXPECT_THAT(with_map("3"), HasSubstr("no 'weight_map' object"));
}

TEST(TensorFolder, AFolderWithoutWeightsSaysWhatIsMissing) {
  const fs::path folder = scratch();
  put_file(folder / "consolidated.safetensors", "x");
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder); }),
              HasSubstr("it has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin and"));
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder / "no"); }), HasSubstr("6: cannot load"));
  EXPECT_THAT(complaint([&] { TensorFolder::open(folder / "no"); }), HasSubstr("it is not a folder"));
}

// A folder with the fixture of torch_file_test.cpp, whose "head" is its "embed".
fs::path pickled_source(const fs::path& folder, const char* config) {
  fs::create_directories(folder);
  fs::copy_file(kFixtures / "torch-types.bin", folder / "pytorch_model.bin");
  put_file(folder / "config.json", config);
  return folder;
}

TEST(TensorFolder, PickledWeightsOpenWhenThereAreNoOthers) {
  const fs::path folder = pickled_source(scratch(), "{}");
  const TensorFolder pickled = TensorFolder::open(folder);
  EXPECT_TRUE(pickled.pickled());
  EXPECT_FALSE(pickled.sharded());
  EXPECT_TRUE(at::equal(pickled.tensor("head"), pickled.tensor("embed")));
  EXPECT_EQ(pickled.info("bfloat16").dtype, "BF16");
  uint64_t all = 0;
  for (const std::string& name : pickled.names()) all += pickled.info(name).size();
  EXPECT_EQ(pickled.total_bytes(), all - pickled.info("head").size());
  write_safetensors(folder / "model.safetensors", {named_bytes("only", numbers(1, 0))});
  EXPECT_THAT(TensorFolder::open(folder).names(), ElementsAre("only")) << "safetensors wins";
}

TEST(TensorFolder, PickledShardsFollowTheirIndex) {
  const fs::path folder = scratch();
  fs::copy_file(kFixtures / "torch-protocol4.bin", folder / "any.bin");
  const auto with_map = [&](const char* map) {
    put_file(folder / "pytorch_model.bin.index.json", fmt::format(R"({{"weight_map":{}}})", map));
    return complaint([&] { TensorFolder::open(folder); });
  };
  EXPECT_EQ(with_map(R"({"embed":"any.bin","head":"any.bin","transposed":"any.bin"})"), "");
  EXPECT_TRUE(TensorFolder::open(folder).sharded());
  EXPECT_THAT(with_map(R"({"embed":"any.bin","head":"gone.bin","transposed":"lost.bin"})"),
              HasSubstr("2 of 3 shards missing: gone.bin, lost.bin"));
  EXPECT_THAT(with_map(R"({"embed":"../any.bin"})"), HasSubstr("expected a file name without folders"));
  EXPECT_THAT(with_map(R"({"embed":"any.bin"})"), HasSubstr("which the index does not list"));
}

TEST(RewriteFolder, EmptyChangeIsByteIdentical) {
  const fs::path source = sharded_source(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  rewrite_folder(source, {}, out);
  EXPECT_THAT(files_in(out), UnorderedElementsAre("first.safetensors", "second.safetensors", kIndexName, "config.json",
                                                  "LICENSE", "pytorch_model.bin"));
  for (const std::string& name : files_in(out)) EXPECT_EQ(get_file(out / name), get_file(source / name)) << name;
}

TEST(RewriteFolder, RewritesOnlyTheTouchedShard) {
  const fs::path source = sharded_source(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  rewrite_folder(source, {.tensors = {{"b", numbers(3, -7)}}, .files = {{"config.json", "new"}, {"NOTE", "n"}}}, out);
  EXPECT_TRUE(fs::equivalent(source / "second.safetensors", out / "second.safetensors"));
  const TensorFolder written = TensorFolder::open(out);
  EXPECT_THAT(written.names(), ElementsAre("b", "a", "c"));
  EXPECT_TRUE(at::equal(written.tensor("b"), numbers(3, -7)));
  EXPECT_TRUE(at::equal(written.tensor("a"), numbers(2, 5)));
  EXPECT_EQ(written.shards()[0]->metadata().at("note"), "kept");
  EXPECT_EQ(get_file(out / "config.json"), "new");
  EXPECT_EQ(get_file(out / "NOTE"), "n");
  EXPECT_EQ(get_file(out / kIndexName), get_file(source / kIndexName));
  EXPECT_FALSE(fs::exists(out / "pytorch_model.bin")) << "it would contradict the new weights";
  EXPECT_FALSE(fs::exists(out / "original"));
  EXPECT_TRUE(at::equal(TensorFolder::open(source).tensor("b"), numbers(3, 1))) << "the source stays";
}

TEST(RewriteFolder, AddedAndRemovedTensorsReachTheIndex) {
  const fs::path source = sharded_source(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  rewrite_folder(source, {.tensors = {{"d.bias", at::ones({5})}}, .removed = {"a"}}, out);
  const TensorFolder written = TensorFolder::open(out);
  EXPECT_THAT(written.names(), ElementsAre("b", "c", "d.bias"));
  EXPECT_EQ(written.file_of("d.bias").filename(), "second.safetensors");
  const Json index = read_json(out / kIndexName);
  EXPECT_EQ(index["metadata"]["total_size"], 12 + 8 + 20);
  EXPECT_EQ(index["metadata"]["extra"], 1);
}

TEST(RewriteFolder, AShardWithoutTensorsIsDropped) {
  const fs::path source = sharded_source(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  rewrite_folder(source, {.removed = {"c"}}, out);
  EXPECT_FALSE(fs::exists(out / "second.safetensors"));
  EXPECT_THAT(TensorFolder::open(out).names(), ElementsAre("b", "a"));
}

TEST(RewriteFolder, WrongChangesAreOurBug) {
  const fs::path source = sharded_source(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  const auto refused = [&](const FolderChange& change) {
    return complaint([&] { rewrite_folder(source, change, out); });
  };
  EXPECT_THAT(refused({.tensors = {{"b", at::zeros({4})}}}),
              HasSubstr("70: cannot replace tensor 'b' of F32 [3] by Float [4]"));
  EXPECT_THAT(refused({.tensors = {{"c", at::zeros({4})}}}), HasSubstr("tensor 'c' of BF16 [4] by Float [4]"));
  EXPECT_THAT(refused({.removed = {"none"}}), HasSubstr("70: cannot remove tensor 'none'"));
  EXPECT_THAT(refused({.files = {{"../x", ""}}}), HasSubstr("70: cannot write file '../x'"));
}

TEST(RewriteFolder, PickledWeightsBecomeSafetensorsWithOneCopyOfWhatIsShared) {
  const fs::path source = pickled_source(scratch() / "in", "{}"), out = empty_folder(source.parent_path() / "out");
  rewrite_folder(source, {.tensors = {{"parameter", numbers(2, 7)}}}, out);
  EXPECT_THAT(files_in(out), UnorderedElementsAre("model.safetensors", "config.json"));
  const TensorFolder before = TensorFolder::open(source), after = TensorFolder::open(out);
  EXPECT_FALSE(after.has("head"));
  EXPECT_EQ(after.names().size() + 1, before.names().size());
  EXPECT_TRUE(at::equal(after.tensor("parameter"), numbers(2, 7)));
  EXPECT_TRUE(at::equal(after.tensor("transposed"), before.tensor("embed").t()));
  EXPECT_EQ(after.shards()[0]->metadata().at("format"), "pt");
}

TEST(RewriteFolder, SharedTensorsThatPartAreBothWritten) {
  const auto names_after = [](const char* config, const FolderChange& change) {
    const fs::path source = pickled_source(scratch() / "in", config), out = empty_folder(source.parent_path() / "out");
    rewrite_folder(source, change, out);
    const TensorFolder after = TensorFolder::open(out);
    return std::pair(after.has("embed"), after.has("head"));
  };
  const at::Tensor zeros = at::zeros({4, 6});
  EXPECT_EQ(names_after("{}", {}), std::pair(true, false));
  EXPECT_EQ(names_after(R"({"tie_word_embeddings":true})", {}), std::pair(true, false));
  EXPECT_EQ(names_after(R"({"tie_word_embeddings":false})", {}), std::pair(true, true));
  EXPECT_EQ(names_after("{}", {.tensors = {{"head", zeros}}}), std::pair(true, true));
  EXPECT_EQ(names_after("{}", {.tensors = {{"embed", zeros}}}), std::pair(true, true));
  EXPECT_EQ(names_after("{}", {.removed = {"embed"}}), std::pair(false, true));
}

TEST(RewriteFolder, PickledShardsBecomeOneFile) {
  const fs::path source = empty_folder(scratch() / "in"), out = empty_folder(source.parent_path() / "out");
  fs::copy_file(kFixtures / "torch-protocol4.bin", source / "any.bin");
  put_file(source / "pytorch_model.bin.index.json",
           R"({"weight_map":{"embed":"any.bin","head":"any.bin","transposed":"any.bin"}})");
  rewrite_folder(source, {.tensors = {{"added", numbers(1, 1)}}}, out);
  EXPECT_THAT(files_in(out), ElementsAre("model.safetensors"));
  EXPECT_THAT(TensorFolder::open(out).names(), ElementsAre("embed", "transposed", "added"));
}

TEST(WriteFolder, ShardsHoldOneTensorAtATime) {
  const fs::path out = empty_folder(scratch() / "out");
  int alive = 0, most = 0;
  const auto lazy = [&](std::string name, int64_t n) {
    return LazyTensor{std::move(name), at::kFloat, {n}, [&alive, &most, n] {
                        most = std::max(most, ++alive);
                        const at::Tensor data = numbers(n, 0);
                        return at::from_blob(
                            data.data_ptr(), {n}, [data, &alive](void*) { --alive; }, at::kFloat);
                      }};
  };
  write_folder({lazy("a", 10), lazy("b", 10), lazy("c", 30), lazy("d", 1)}, {{"config.json", "{}"}}, out, 80);
  EXPECT_EQ(most, 1);
  const TensorFolder written = TensorFolder::open(out);
  EXPECT_THAT(written.names(), ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(written.file_of("b").filename(), "model-00001-of-00003.safetensors");
  EXPECT_EQ(written.file_of("d").filename(), "model-00003-of-00003.safetensors");
  EXPECT_EQ(read_json(out / kIndexName)["metadata"]["total_size"], 204);
  EXPECT_EQ(get_file(out / "config.json"), "{}");
}

TEST(WriteFolder, OneShardNeedsNoIndex) {
  const fs::path out = empty_folder(scratch() / "out");
  const std::vector<std::pair<std::string, std::function<at::Tensor()>>> tensors = {{"a", [] {
                                                                                       return at::ones({2, 2});
                                                                                     }}};
  write_folder(tensors, {}, out);
  EXPECT_THAT(files_in(out), ElementsAre("model.safetensors"));
  EXPECT_TRUE(at::equal(TensorFolder::open(out).tensor("a"), at::ones({2, 2})));
}

}  // namespace
}  // namespace suture::io
