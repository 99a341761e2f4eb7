// SPDX-License-Identifier: Apache-2.0
// Every file of tests/tools/transcripts, every configuration of configs/, and what no transcript can show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/file.h"
#include "core/temp_folder.h"
#include "tools/transcript.h"

namespace suture::test {
namespace {

std::vector<fs::path> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == extension) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::string test_name(const testing::TestParamInfo<fs::path>& info) {
  const std::string folder = info.param.parent_path().filename().string();
  std::string name = folder + "_" + info.param.stem().string();
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class Transcript : public testing::TestWithParam<fs::path> {};

TEST_P(Transcript, Matches) {
  const TempFolder folder;
  for (const TranscriptCase& expected : parse_transcript(read_text(GetParam()))) {
    SCOPED_TRACE(GetParam().filename().string() + ":" + std::to_string(expected.line));
    const Outcome outcome = run_suture(expected.arguments, folder.path());
    EXPECT_EQ(outcome.exit, expected.exit) << outcome.err;
    if (expected.out) {
      EXPECT_EQ(mismatch(*expected.out, outcome.out), "") << "on stdout";
    }
    if (expected.err) {
      EXPECT_EQ(mismatch(*expected.err, outcome.err), "") << "on stderr";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tools, Transcript,
                         testing::ValuesIn(files_in(fs::path(SUTURE_SOURCE_DIR) / "tests/tools/transcripts", ".txt")),
                         test_name);

// A configuration's first line is a comment that names its command: "# suture edit apply".
class Configuration : public testing::TestWithParam<fs::path> {};

TEST_P(Configuration, PassesItsCommandsCheck) {
  const std::string text = read_text(GetParam());
  const std::string first = text.substr(0, text.find('\n'));
  ASSERT_TRUE(first.starts_with("# suture "))
      << "the first line of " << GetParam() << " must name its command: # suture edit apply";
  std::vector<std::string> arguments = split_words(first.substr(9));
  arguments.insert(arguments.end(), {GetParam().string(), "--check"});
  const TempFolder folder;
  const Outcome outcome = run_suture(arguments, folder.path());
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_EQ(folder.entries(), 0U) << "--check must not write";
}

INSTANTIATE_TEST_SUITE_P(Configs, Configuration,
                         testing::ValuesIn(files_in(fs::path(SUTURE_SOURCE_DIR) / "configs", ".yaml")), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Configuration);

TEST(Program, SaysSoWhenStdoutIsFull) {
  const std::string command = std::string(SUTURE_BINARY) + " --version 2>&1 >/dev/full";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char line[256] = {};
  EXPECT_NE(std::fgets(line, sizeof line, pipe), nullptr);
  EXPECT_EQ(WEXITSTATUS(::pclose(pipe)), 8);
  EXPECT_STREQ(line, "suture: cannot write to stdout: No space left on device\n");
}

TEST(Mismatch, HolesAndGaps) {
  EXPECT_EQ(mismatch("a {*} c\n...\nend\n", "a b c\nx\ny\nend\n"), "");
  EXPECT_EQ(mismatch("...\nend\n", "end\n"), "");
  EXPECT_EQ(mismatch("", ""), "");
  EXPECT_THAT(mismatch("a\n", "b\n"), testing::StartsWith("line 1 is not expected: b"));
  EXPECT_THAT(mismatch("a\nb\n", "a\n"), testing::StartsWith("it ends too early"));
  EXPECT_THAT(mismatch("a\n", "a\nb\n"), testing::StartsWith("line 2 is not expected: b"));
  EXPECT_THAT(mismatch("", "x\n"), testing::StartsWith("line 1 is not expected: x"));
}

TEST(ParseTranscript, ReadsCases) {
  const auto cases =
      parse_transcript("# why\n$ suture a 'b c' \"d\"\nexit 2\nstderr: one\ntwo\nstdout:\n\n$ suture x\nstdout: y\n");
  ASSERT_EQ(cases.size(), 2U);
  EXPECT_EQ(cases[0].arguments, (std::vector<std::string>{"a", "b c", "d"}));
  EXPECT_EQ(cases[0].exit, 2);
  EXPECT_EQ(cases[0].err, "one\ntwo\n");
  EXPECT_EQ(cases[0].out, "");
  EXPECT_EQ(cases[1].line, 8);
  EXPECT_EQ(cases[1].out, "y\n");
  EXPECT_FALSE(cases[1].err.has_value());
  EXPECT_THROW(parse_transcript("suture a\n"), std::runtime_error);
  EXPECT_THROW(parse_transcript("$ suture a\nexpect 1\n"), std::runtime_error);
}

}  // namespace
}  // namespace suture::test
