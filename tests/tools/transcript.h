// SPDX-License-Identifier: Apache-2.0
// Runs the built program and compares what it prints with transcripts. See "Transcripts" in CONTRIBUTING.md for the
// format.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace suture::test {

struct Outcome {
  int exit = -1;  // 128 + signal when killed
  std::string out, err;
};

// Runs `suture` with these arguments in `folder`; stdin is empty. Nothing but PATH, HOME and the model's path is
// inherited.
Outcome run_suture(const std::vector<std::string>& arguments, const std::filesystem::path& folder);

struct TranscriptCase {
  int line = 0;
  std::vector<std::string> arguments;
  int exit = 0;
  std::optional<std::string> out, err;  // patterns
};

// Throws std::runtime_error with the line of a malformed transcript.
std::vector<TranscriptCase> parse_transcript(const std::string& text);

// Empty when `text` matches, else a sentence with the first line that does not.
std::string mismatch(const std::string& pattern, const std::string& text);

// Splits as a shell does: blanks, '...' and "..." (no escapes, no expansion).
std::vector<std::string> split_words(const std::string& line);

}  // namespace suture::test
