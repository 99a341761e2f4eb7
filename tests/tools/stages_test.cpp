// SPDX-License-Identifier: Apache-2.0
// edit, extract, patch and run on the tiny checkpoint: files that must come out equal, stages that must be left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/file.h"
#include "core/json.h"
#include "core/temp_folder.h"
#include "tools/transcript.h"

namespace suture::test {
namespace {

using testing::HasSubstr;

const fs::path kFixtures = fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures";

std::string tool_file(const std::string& name) { return (kFixtures / "tools" / name).string(); }

// A copy of the experiment that a test may change; the models stay where they are.
void copy_experiment(const fs::path& folder) {
  fs::create_directory(folder / "tools");
  for (const auto& entry : fs::directory_iterator(kFixtures / "tools"))
    if (entry.is_regular_file()) fs::copy_file(entry.path(), folder / "tools" / entry.path().filename());
  fs::create_directory_symlink(kFixtures / "models", folder / "models");
}

void replace_in(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = read_text(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  std::ofstream(path) << text;
}

class Run : public testing::Test {
 protected:
  void SetUp() override { copy_experiment(folder_.path()); }
  Outcome run(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"run", "tools/experiment.yaml", "-q"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_suture(arguments, folder_.path());
  }
  // Names of the stages that would run now, and with --force where so.
  std::vector<std::string> waiting() {
    const Outcome outcome = run({"--dry-run", "--json"});
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    std::vector<std::string> names;
    if (outcome.exit != 0) return names;
    for (const Json& stage : parse_json(outcome.out, "stdout"))
      if (stage["runs"].get<bool>())
        names.push_back(stage["name"].get<std::string>() +
                        (stage["command"].get<std::string>().ends_with(" --force") ? " --force" : ""));
    return names;
  }
  Json record() { return read_json(folder_ / "tools/out/stages.json")["stages"]; }
  const TempFolder folder_;
};

using Names = std::vector<std::string>;

TEST_F(Run, LeavesFinishedStagesAlone) {
  EXPECT_EQ(waiting(), (Names{"edit", "extract", "patch", "audit"}));
  EXPECT_FALSE(fs::exists(folder_ / "tools/out")) << "--dry-run must not write";
  const Outcome first = run();
  ASSERT_EQ(first.exit, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("tools/out/audit/report.html"));
  const Json before = record();
  ASSERT_EQ(before.size(), 4U);
  EXPECT_EQ(waiting(), Names{});
  const Outcome second = run();
  EXPECT_EQ(second.exit, 0) << second.err;
  EXPECT_EQ(record(), before);
  EXPECT_THAT(second.out, HasSubstr("done before"));
  EXPECT_EQ(second.out.substr(second.out.find("\n\n")), first.out.substr(first.out.find("\n\n")))
      << "what the audit printed";

  // Comments decide nothing, values do, and what follows a stage depends on it.
  replace_in(folder_ / "tools/extract.yaml", "prompts: 4\n", "prompts: 4  # all\n");
  EXPECT_EQ(waiting(), Names{});
  replace_in(folder_ / "tools/extract.yaml", "scale: 0.8", "scale: 0.7");
  EXPECT_EQ(waiting(), (Names{"extract --force", "patch --force", "audit --force"}));
  replace_in(folder_ / "tools/facts.jsonl", " east", " north");
  EXPECT_EQ(waiting(), (Names{"edit --force", "extract --force", "patch --force", "audit --force"}));
  EXPECT_EQ(run().exit, 0);
  EXPECT_EQ(waiting(), Names{});
  fs::remove(folder_ / "tools/out/vectors.h5");
  EXPECT_EQ(waiting(), Names{"extract"});
}

TEST_F(Run, AStageThatFailsStopsTheRunAndIsTriedAgain) {
  replace_in(folder_ / "tools/extract.yaml", "heads: {top: 3, prompts: 2, layer: 1}",
             "heads: {top: 3, prompts: 2, layer: 9}");
  const Outcome failed = run();
  EXPECT_EQ(failed.exit, 6);
  EXPECT_THAT(failed.err, HasSubstr("suture: stage 'extract' failed: cannot use layer 9: model has layers 0..2\n"));
  EXPECT_EQ(failed.out, "");
  ASSERT_EQ(record().size(), 2U);
  EXPECT_EQ(record()[0]["exit_code"], 0);
  EXPECT_EQ(record()[1]["exit_code"], 6);
  replace_in(folder_ / "tools/extract.yaml", "layer: 9", "layer: 1");
  EXPECT_EQ(waiting(), (Names{"extract", "patch", "audit"}));
}

// What a killed audit leaves: its journal cut short and a record without an end.
TEST_F(Run, GoesOnWithAnAuditThatWasKilled) {
  ASSERT_EQ(run().exit, 0);
  const fs::path journal = folder_ / "tools/out/audit/responses.jsonl";
  const std::string whole = read_text(journal);
  const std::string kept = whole.substr(0, whole.find('\n', whole.size() / 3) + 1);
  std::ofstream(journal) << kept;
  Json stages = read_json(folder_ / "tools/out/stages.json");
  stages["stages"][3]["exit_code"] = nullptr;
  std::ofstream(folder_ / "tools/out/stages.json") << stages.dump();
  EXPECT_EQ(waiting(), Names{"audit"}) << "without --force";
  ASSERT_EQ(run().exit, 0);
  const std::string again = read_text(journal);
  EXPECT_TRUE(again.starts_with(kept)) << "answers that were there are kept";
  EXPECT_EQ(std::count(again.begin(), again.end(), '\n'), std::count(whole.begin(), whole.end(), '\n'));
}

TEST_F(Run, AFailedGateIsTheExitCodeEachTime) {
  replace_in(folder_ / "tools/audit.yaml", "model: out/edited}", "model: out/edited, refusal_min: 1}");
  EXPECT_EQ(run().exit, 1);
  EXPECT_EQ(waiting(), Names{}) << "the audit is done, whatever it found";
  EXPECT_EQ(run().exit, 1);
}

TEST_F(Run, OutMovesWhatTheConfigurationsNameBelowIt) {
  const Outcome outcome = run({"--out", "elsewhere"});
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_FALSE(fs::exists(folder_ / "tools/out"));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/audit/report.json"));
}

TEST_F(Run, CheckNeedsNoOutputs) {
  EXPECT_EQ(run({"--check"}).exit, 0);
  EXPECT_FALSE(fs::exists(folder_ / "tools/out"));
  replace_in(folder_ / "tools/audit.yaml", "generate:", "generated:");
  const Outcome outcome = run({"--check"});
  EXPECT_EQ(outcome.exit, 3);
  EXPECT_THAT(outcome.err, HasSubstr("stage 'audit' failed: "));
}

std::string digest_of(const std::string& model, const fs::path& folder) {
  const Outcome outcome = run_suture({"inspect", model, "--digest", "--json"}, folder);
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  return outcome.exit == 0 ? parse_json(outcome.out, "stdout")["digest"].get<std::string>() : "";
}

TEST(EditUndo, GivesTheOriginalBack) {
  const TempFolder folder;
  const std::string model = (kFixtures / "models/llama-gqa").string();
  ASSERT_EQ(run_suture({"edit", "apply", tool_file("edit.yaml"), "--out", "edited"}, folder.path()).exit, 0);
  const std::string weights = read_text(folder / "edited/model.safetensors");
  EXPECT_NE(weights, read_text(fs::path(model) / "model.safetensors"));
  const Json manifest = read_json(folder / "edited/manifest.json");
  ASSERT_EQ(manifest["changed"].size(), 1U);
  EXPECT_EQ(manifest["changed"][0]["tensor"], "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(manifest["result"]["digest"], digest_of("edited", folder.path()));

  EXPECT_EQ(run_suture({"edit", "apply", tool_file("edit.yaml"), "--out", "edited"}, folder.path()).exit, 2);
  EXPECT_EQ(read_text(folder / "edited/model.safetensors"), weights);

  ASSERT_EQ(run_suture({"edit", "undo", "edited", "--out", "restored"}, folder.path()).exit, 0);
  EXPECT_EQ(read_text(folder / "restored/model.safetensors"), read_text(fs::path(model) / "model.safetensors"));
  EXPECT_EQ(digest_of("restored", folder.path()), digest_of(model, folder.path()));
  EXPECT_FALSE(fs::exists(folder / "restored/edit.delta.h5"));
}

}  // namespace
}  // namespace suture::test
