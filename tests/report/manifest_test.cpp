// SPDX-License-Identifier: Apache-2.0
#include "report/manifest.h"

#include <gtest/gtest.h>

#include "core/digest.h"
#include "core/file.h"

namespace suture::report {
namespace {

TEST(Manifest, HoldsWhatProducedAResult) {
  const fs::path folder = fs::path(testing::TempDir()) / "suture-manifest";
  fs::create_directories(folder);
  write_atomically(folder / "in.txt", "abc");
  write_atomically(folder / "out.txt", "defg");
  Manifest manifest("edit apply");
  manifest.arguments({"suture", "edit", "apply"})
      .config({{"layer", 8}})
      .seed("prefixes", 7)
      .input("facts", folder / "in.txt")
      .input("model", "m", "00ff");
  manifest.output(folder / "out.txt", folder)
      .stage("solve", 1.5, {{"condition", 12.0}})
      .machine("libtorch", "2.11.0")
      .note("edits", 10);
  manifest.write(folder);
  const Json json = read_json(folder / "manifest.json");
  EXPECT_EQ(json.at("tool"), "suture");
  EXPECT_EQ(json.at("version"), SUTURE_VERSION);
  EXPECT_EQ(json.at("command"), "edit apply");
  EXPECT_EQ(json.at("config").at("layer"), 8);
  EXPECT_EQ(json.at("seeds").at("prefixes"), 7);
  EXPECT_EQ(json.at("inputs")[0].at("sha256"), sha256(std::string_view("abc")));
  EXPECT_EQ(json.at("inputs")[1].at("sha256"), "00ff");
  EXPECT_EQ(json.at("outputs")[0].at("path"), "out.txt");
  EXPECT_EQ(json.at("outputs")[0].at("bytes"), 4);
  EXPECT_EQ(json.at("stages")[0].at("details").at("condition"), 12.0);
  EXPECT_EQ(json.at("machine").at("libtorch"), "2.11.0");
  EXPECT_GE(json.at("machine").at("cores").get<int>(), 1);
  EXPECT_EQ(json.at("notes").at("edits"), 10);
  EXPECT_EQ(json.at("started").get<std::string>().size(), std::string("2000-01-01T00:00:00Z").size());
}

TEST(Manifest, HidesSecrets) {
  Manifest manifest("x");
  manifest.arguments(
      {"--hf-token", "abc", "--set", "api_key=def", "--token=ghi", "--key-source", "bare", "--tokens", "5", "monkey"});
  const Json expected = {"--hf-token",   "***",  "--set",    "api_key=***", "--token=***",
                         "--key-source", "bare", "--tokens", "5",           "monkey"};
  EXPECT_EQ(manifest.json().at("arguments"), expected);
}

}  // namespace
}  // namespace suture::report
