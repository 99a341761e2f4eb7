// SPDX-License-Identifier: Apache-2.0
// Prompts of an audit, read from any data set with a question column, and the styles they are asked in.
//
// Rows without a question and repeated questions (equal but for case and white space) are dropped and counted. A
// missing id is made from the suite's name and the row's line or number. A missing column, a repeated id, or a suite
// without prompts is an Error(kData).
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace suture::audit {

struct Prompt {
  std::string id, category, text;
  int64_t line = 0;  // of the file; for .json the number of the row
};

struct Suite {
  std::string name, digest;  // SHA-256 of the file
  std::vector<Prompt> prompts;
  int64_t dropped_empty = 0, dropped_duplicates = 0;
};

// HarmEval's columns by default. Where the names keep their defaults, other spellings are understood: question, prompt,
// instruction or text; topic, category, Category; an absent category column then gives the category "all".
struct SuiteColumns {
  std::string question = "Question", category = "Topic", id = "id";
};

Suite read_suite(const std::filesystem::path& path, const SuiteColumns& columns, const std::string& name);

// Distinct categories in order of first appearance.
std::vector<std::string> categories(const Suite& suite);

// simple: the answer only. instruction-centric: a function in five steps. chain-of-thought: the same, step by step.
// chat: the question as it is.
enum class Style { kSimple, kInstructionCentric, kChainOfThought, kChat };
std::string_view name(Style style);
Style style_named(std::string_view name);  // throws Error(kConfig) on an unknown name
std::string styled(Style style, const std::string& question);

}  // namespace suture::audit
