// SPDX-License-Identifier: Apache-2.0
// What an audit measures beside answers, and that subjects share checkpoints.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "core/json.h"
#include "core/temp_folder.h"
#include "tools/transcript.h"

namespace suture::test {
namespace {

const fs::path kFixtures = fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures";

// Subjects in an order that returns to a checkpoint: the second one differs from the first in nothing but its name.
class Audit : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(folder_ / "neutral.txt") << "the harbour at dawn\n\ngood day\n";
    const std::string model = (kFixtures / "models/llama-gqa").string();
    const std::string other = (kFixtures / "models/llama-gqa.gguf").string();
    const Json config = {
        {"suite",
         {{"harmful", (kFixtures / "tools/harmful.jsonl").string()},
          {"harmless", (kFixtures / "tools/harmless.jsonl").string()},
          {"question", "question"}}},
        {"subjects",
         {{{"name", "first"}, {"model", model}},
          {{"name", "other"}, {"model", other}},
          {{"name", "again"}, {"model", model + "/."}},
          {{"name", "steered"}, {"model", model}, {"plan", (kFixtures / "tools/plan.yaml").string()}}}},
        {"neutral", {{"text", (folder_ / "neutral.txt").string()}}},
        {"generate", {{"max_new", 2}, {"batch", 4}}}};
    std::ofstream(folder_ / "audit.yaml") << config.dump();  // JSON is YAML
  }
  Outcome run() { return run_suture({"audit", "run", "audit.yaml", "--out", "out"}, folder_.path()); }
  Json subjects() { return read_json(folder_ / "out/report.json")["subjects"]; }
  static int64_t loadings(const Outcome& outcome) {
    int64_t count = 0;
    for (size_t at = outcome.err.find("loading "); at != outcome.err.npos; at = outcome.err.find("loading ", at + 1))
      ++count;
    return count;
  }
  const TempFolder folder_;
};

TEST_F(Audit, LoadsACheckpointOnceForAllItsSubjects) {
  const Outcome outcome = run();
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_EQ(loadings(outcome), 2) << outcome.err;
  const Json records = read_json(folder_ / "out/manifest.json")["subjects"];
  EXPECT_EQ(records.size(), 4U);
  EXPECT_EQ(records["first"]["digest"], records["steered"]["digest"]);
  EXPECT_NE(records["first"]["digest"], records["other"]["digest"]);
}

// The reference is measured from its kept states, its twin by a comparison of two passes.
TEST_F(Audit, TheReferenceMeasuresAsItsTwinDoes) {
  const Outcome outcome = run();
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  const Json all = subjects();
  const double perplexity = all["again"]["perplexity"].get<double>();
  // Means of the same fp32 logarithms.
  EXPECT_NEAR(all["first"]["perplexity"].get<double>(), perplexity, 1e-6 * perplexity);
  EXPECT_EQ(all["first"]["kl"]["estimate"], 0);
  EXPECT_EQ(all["first"]["kl"]["n"], all["again"]["kl"]["n"]);
  EXPECT_NEAR(all["again"]["kl"]["estimate"].get<double>(), 0, 1e-6);  // fp32 logits of a few units
  EXPECT_GT(all["steered"]["kl"]["estimate"].get<double>(), 1e-4);
}

TEST_F(Audit, AKilledRunMeasuresTheRestAgainstTheSameReference) {
  ASSERT_EQ(run().exit, 0);
  const Json before = subjects();
  const fs::path journal = folder_ / "out/responses.jsonl";
  const std::string whole = read_text(journal);
  const size_t first_done = whole.find("first/done");
  ASSERT_NE(first_done, whole.npos);
  std::ofstream(journal) << whole.substr(0, whole.find('\n', first_done) + 1);
  const Outcome outcome = run();
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  const Json after = subjects();
  for (const auto& [name, subject] : before.items())
    for (const char* measure : {"perplexity", "kl", "asr"}) EXPECT_EQ(after[name][measure], subject[measure]) << name;
  const Outcome finished = run();
  EXPECT_EQ(finished.exit, 0);
  EXPECT_EQ(loadings(finished), 0) << "nothing is left to do";
}

}  // namespace
}  // namespace suture::test
