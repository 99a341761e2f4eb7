// SPDX-License-Identifier: Apache-2.0
// inspect, convert, generate and score on the tiny checkpoints: what one command says must agree with what another
// does.
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
const std::string kModel = (kFixtures / "models/llama-gqa").string();
const std::string kPrompt = "the harbour";

std::string tool_file(const std::string& name) { return (kFixtures / "tools" / name).string(); }

// The JSON that a command prints; an empty object when it fails.
Json run_json(std::vector<std::string> arguments, const TempFolder& folder) {
  arguments.emplace_back("--json");
  const Outcome outcome = run_suture(arguments, folder.path());
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  return outcome.exit == 0 ? parse_json(outcome.out, "stdout") : Json::object();
}

Json generate(const TempFolder& folder, const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"generate", kModel, kPrompt, "--max-new", "12"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_json(arguments, folder);
}

std::string with_commas(const std::vector<int32_t>& ids) { return fmt::format("{}", fmt::join(ids, ",")); }

using Ids = std::vector<int32_t>;

TEST(Convert, LeavesAnExistingFolderAlone) {
  const TempFolder folder;
  fs::create_directory(folder / "out");
  std::ofstream(folder / "out" / "keep.txt") << "kept";
  const Outcome refused = run_suture({"convert", kModel, "--out", "out"}, folder.path());
  EXPECT_EQ(refused.exit, 2);
  EXPECT_EQ(refused.err, "suture: cannot write out: it exists; use --force to replace it\n");
  EXPECT_EQ(read_text(folder / "out" / "keep.txt"), "kept");
  EXPECT_EQ(folder.entries(), 1U) << "something was left beside the target";

  EXPECT_EQ(run_suture({"convert", kModel, "--out", "out", "--force"}, folder.path()).exit, 0);
  EXPECT_FALSE(fs::exists(folder / "out" / "keep.txt"));
  EXPECT_EQ(read_text(folder / "out" / "model.safetensors"), read_text(fs::path(kModel) / "model.safetensors"));
  EXPECT_EQ(folder.entries(), 1U);
}

TEST(Convert, DryRunWritesNothing) {
  const TempFolder folder;
  EXPECT_EQ(run_suture({"convert", kModel, "--out", "out", "--dry-run"}, folder.path()).exit, 0);
  EXPECT_EQ(folder.entries(), 0U);
}

// The GGUF files hold the folders' weights in F32, so converted ones compute the very same numbers.
TEST(Convert, GgufScoresAsItsFolder) {
  for (const char* name : {"llama-gqa", "gpt2"}) {
    SCOPED_TRACE(name);
    const TempFolder folder;
    const std::string source = (kFixtures / "models" / name).string();
    run_json({"convert", source + ".gguf", "--out", "out"}, folder);
    const std::vector<std::string> rest = {"--ids", "5,17,3,60,42", "--dtype", "fp32"};
    std::vector<std::string> from_folder = {"score", source}, converted = {"score", "out"};
    from_folder.insert(from_folder.end(), rest.begin(), rest.end());
    converted.insert(converted.end(), rest.begin(), rest.end());
    EXPECT_EQ(run_json(from_folder, folder)["rows"][0]["log_probs"],
              run_json(converted, folder)["rows"][0]["log_probs"]);
  }
}

TEST(Convert, ToBf16AndBackIsStable) {
  const TempFolder folder;
  const Json half = run_json({"convert", kModel, "--out", "half", "--dtype", "bf16"}, folder);
  EXPECT_NE(half["dtypes"].get<std::string>().find("BF16"), std::string::npos);
  run_json({"convert", "half", "--out", "wide", "--dtype", "fp32"}, folder);
  const Json again = run_json({"convert", "wide", "--out", "half2", "--dtype", "bf16"}, folder);
  EXPECT_EQ(half["digest"], again["digest"]) << "bf16 numbers survive a way through fp32";
}

TEST(Inspect, DigestFollowsTheWeights) {
  const TempFolder folder;
  run_json({"convert", kModel, "--out", "copy"}, folder);
  const Json model = run_json({"inspect", kModel, "--digest"}, folder),
             copy = run_json({"inspect", "copy", "--digest"}, folder);
  EXPECT_EQ(model["digest"], copy["digest"]);
  run_json({"convert", kModel, "--out", "half", "--dtype", "bf16"}, folder);
  EXPECT_NE(model["digest"], run_json({"inspect", "half", "--digest"}, folder)["digest"]);
}

// Lines 1 and 2 of the file are the same words, scored from the start and after a prompt.
TEST(Score, AddsUp) {
  const TempFolder folder;
  const Json json = run_json({"score", kModel, "--file", tool_file("texts.jsonl"), "--top-k", "112"}, folder);
  double nll = 0;
  int64_t counted = 0;
  for (const Json& row : json["rows"]) {
    const auto ids = row["ids"].get<Ids>();
    double sum = 0;
    for (size_t t = 1; t < ids.size(); ++t) {
      double mass = 0;
      const auto& top = row["top"][t - 1];  // what may follow token t - 1
      for (const Json& each : top) {
        mass += std::exp(each["log_prob"].get<double>());
        if (each["id"] == ids[t]) {
          EXPECT_EQ(each["log_prob"], row["log_probs"][t]);
        }
      }
      EXPECT_NEAR(mass, 1, 1e-5) << "112 probabilities of fp32 log-probabilities";
      if (int64_t(t) >= row["context"].get<int64_t>()) sum -= row["log_probs"][t].get<double>();
    }
    EXPECT_NEAR(row["nll"].get<double>(), sum, 1e-9) << "sums of the same doubles";
    EXPECT_NEAR(row["perplexity"].get<double>(), std::exp(sum / row["counted"].get<double>()), 1e-9);
    nll += sum;
    counted += row["counted"].get<int64_t>();
  }
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(nll / double(counted)), 1e-9);
  const Json &whole = json["rows"][0], &after = json["rows"][1];
  EXPECT_EQ(whole["ids"], after["ids"]);
  EXPECT_EQ(whole["log_probs"], after["log_probs"]);
  EXPECT_EQ(whole["context"], 1);
  EXPECT_EQ(after["offsets"][after["context"].get<size_t>()],
            Json({11, after["offsets"][after["context"].get<size_t>()][1]}))
      << "scoring starts where the prompt of 11 characters ends";
}

// Generation keeps a cache and scoring does not; greedy choices must be the scores' best.
TEST(Generate, TakesWhatScoreCallsLikeliest) {
  const TempFolder folder;
  const auto made = generate(folder, {"--raw", "--dtype", "fp32"})["completions"][0]["ids"].get<Ids>();
  auto ids = run_json({"score", kModel, kPrompt}, folder)["rows"][0]["ids"].get<Ids>();
  const size_t prompt = ids.size();
  ids.insert(ids.end(), made.begin(), made.end());
  const Json row = run_json({"score", kModel, "--ids", with_commas(ids), "--dtype", "fp32"}, folder)["rows"][0];
  ASSERT_GT(made.size(), 0U);
  for (size_t i = 0; i < made.size(); ++i) EXPECT_EQ(row["top"][prompt - 1 + i][0]["id"], made[i]) << "token " << i;
}

TEST(Generate, PlansActAndScaleZeroDoesNot) {
  const TempFolder folder;
  const Json plain = generate(folder, {})["completions"];
  EXPECT_EQ(generate(folder, {"--plan", tool_file("plan-zero.yaml")})["completions"], plain);
  const Json steered = generate(folder, {"--plan", tool_file("plan.yaml")});
  EXPECT_NE(steered["completions"], plain);
  EXPECT_EQ(steered["plan"]["interventions"][0]["tokens"], "last") << "left out, so the stored one";
  EXPECT_EQ(steered["plan"]["interventions"][0]["scale"], 1.5);

  const Json open = generate(folder, {"--plan", tool_file("plan-open.yaml")})["completions"][0];
  EXPECT_EQ(open["ids"], steered["completions"][0]["ids"]);
  EXPECT_EQ(open["gate_open"], true);
  const Json closed = generate(folder, {"--plan", tool_file("plan-closed.yaml")})["completions"][0];
  EXPECT_EQ(closed["ids"], plain[0]["ids"]);
  EXPECT_EQ(closed["gate_open"], false);
}

TEST(Generate, GuideAgainstItselfChangesNothing) {
  const TempFolder folder;
  const Json plain = generate(folder, {})["completions"];
  EXPECT_EQ(generate(folder, {"--guide", tool_file("guide-zero.yaml")})["completions"], plain) << "lambda 0";
  // The system prompt is the guide's: both models see the same text.
  const Json same = generate(folder, {"--system", "answer everything"})["completions"];
  EXPECT_EQ(generate(folder, {"--system", "answer everything", "--guide", tool_file("guide.yaml")})["completions"],
            same);
  EXPECT_NE(generate(folder, {"--guide", tool_file("guide.yaml")})["completions"], plain) << "lambda 0.9";
}

TEST(Generate, SamplingRepeatsUnderASeedAndNotUnderAnother) {
  const TempFolder folder;
  const auto sample = [&](const char* seed) {
    return generate(folder, {"--temperature", "1", "--seed", seed})["completions"];
  };
  EXPECT_EQ(sample("3"), sample("3"));
  EXPECT_NE(sample("3"), sample("4"));
}

// Rows of a batch and of a file do not depend on each other.
TEST(Generate, FilesGiveWhatSinglePromptsGive) {
  const TempFolder folder;
  const Json many =
      run_json({"generate", kModel, "--file", tool_file("prompts.jsonl"), "--max-new", "12"}, folder)["completions"];
  const Json lines =
      run_json({"generate", kModel, "--file", tool_file("prompts.txt"), "--max-new", "12", "--batch", "1"}, folder);
  ASSERT_EQ(many.size(), 2U);
  EXPECT_EQ(many, lines["completions"]);
  const Json one =
      run_json({"generate", kModel, many[1]["prompt"].get<std::string>(), "--max-new", "12"}, folder)["completions"];
  EXPECT_EQ(one[0], many[1]);
}

TEST(Generate, WritesItsJsonToOut) {
  const TempFolder folder;
  const Outcome outcome =
      run_suture({"generate", kModel, kPrompt, "--max-new", "4", "--out", "made.json"}, folder.path());
  ASSERT_EQ(outcome.exit, 0) << outcome.err;
  const Json written = read_json(folder / "made.json");
  EXPECT_EQ(outcome.out, written["completions"][0]["completion"].get<std::string>() + "\n");
  EXPECT_EQ(run_suture({"generate", kModel, kPrompt, "--out", "made.json"}, folder.path()).exit, 2);
  EXPECT_EQ(read_json(folder / "made.json"), written);
}

}  // namespace
}  // namespace suture::test
