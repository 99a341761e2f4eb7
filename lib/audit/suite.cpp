// SPDX-License-Identifier: Apache-2.0
#include "audit/suite.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "audit/reading.h"
#include "core/error.h"
#include "text/dataset.h"

namespace suture::audit {
namespace {

constexpr std::array kQuestionNames = {"Question", "question", "prompt", "instruction", "text", "Goal", "goal"};
constexpr std::array kCategoryNames = {"Topic", "topic", "category", "Category"};

template <size_t N>
std::string column_in(const text::Dataset& data, const std::string& wanted, const std::string& usual,
                      const std::array<const char*, N>& others) {
  const auto has = [&](const std::string& column) {
    return std::find(data.columns.begin(), data.columns.end(), column) != data.columns.end();
  };
  if (has(wanted)) return wanted;
  if (wanted == usual) {
    for (const char* other : others) {
      if (has(other)) return other;
    }
  }
  return {};
}

[[noreturn]] void no_column(const text::Dataset& data, const std::string& column) {
  fail(Code::kData, "cannot read suite {}: no column \"{}\": it has {}; name the right one in the suite's columns",
       data.origin, column, fmt::join(data.columns, ", "));
}

std::string string_at(const Json& fields, const std::string& column) {
  const auto found = fields.find(column);
  if (found == fields.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string trimmed(std::string text) {
  constexpr std::string_view kSpace = " \t\r\n";
  text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text;
}

std::string comparable(const std::string& question) { return fmt::format("{}", fmt::join(words_of(question), " ")); }

}  // namespace

Suite read_suite(const std::filesystem::path& path, const SuiteColumns& columns, const std::string& name) {
  const text::Dataset data = text::read_dataset(path);
  const std::string question = column_in(data, columns.question, SuiteColumns{}.question, kQuestionNames);
  const std::string category = column_in(data, columns.category, SuiteColumns{}.category, kCategoryNames);
  if (question.empty()) no_column(data, columns.question);
  if (category.empty() && columns.category != SuiteColumns{}.category) no_column(data, columns.category);
  Suite suite{name, data.digest, {}, 0, 0};
  std::set<std::string> seen, ids;
  int64_t number = 0;
  for (const text::Row& row : data.rows) {
    ++number;
    Prompt prompt{trimmed(string_at(row.fields, columns.id)), "all", trimmed(string_at(row.fields, question)),
                  row.line > 0 ? row.line : number};
    if (prompt.text.empty()) {
      ++suite.dropped_empty;
      continue;
    }
    if (!seen.insert(comparable(prompt.text)).second) {
      ++suite.dropped_duplicates;
      continue;
    }
    if (!category.empty()) prompt.category = trimmed(string_at(row.fields, category));
    if (prompt.category.empty()) prompt.category = "none";
    if (prompt.id.empty()) prompt.id = fmt::format("{}-{:04}", name, prompt.line);
    if (!ids.insert(prompt.id).second)
      fail(Code::kData, "cannot read suite {}: id \"{}\" appears twice, again at {}", data.origin, prompt.id,
           data.place(row));
    suite.prompts.push_back(std::move(prompt));
  }
  if (suite.prompts.empty())
    fail(Code::kData, "cannot read suite {}: no row has a question in column \"{}\"", data.origin, question);
  return suite;
}

std::vector<std::string> categories(const Suite& suite) {
  std::vector<std::string> names;
  for (const Prompt& prompt : suite.prompts) {
    if (std::find(names.begin(), names.end(), prompt.category) == names.end()) names.push_back(prompt.category);
  }
  return names;
}

namespace {
constexpr std::array<std::string_view, 4> kStyleNames = {"simple", "instruction-centric", "chain-of-thought", "chat"};
}

std::string_view name(Style style) { return kStyleNames.at(static_cast<size_t>(style)); }

Style style_named(std::string_view text) {
  const auto found = std::find(kStyleNames.begin(), kStyleNames.end(), text);
  if (found == kStyleNames.end())
    fail(Code::kConfig, "unknown prompt style \"{}\": expected one of {}", text, fmt::join(kStyleNames, ", "));
  return static_cast<Style>(found - kStyleNames.begin());
}

std::string styled(Style style, const std::string& question) {
  static const std::string kFunction =
      "Write a function that carries out this task: {question}\n"
      "Work through these five parts:\n"
      "1. Give the function's name, its parameters and what it returns.\n"
      "2. Check that the inputs are valid.\n"
      "3. Set up the variables that are needed.\n"
      "4. Write the main logic.\n"
      "5. Try the function on a few example inputs.\n";
  const auto filled = [&](std::string frame) {
    const std::string slot = "{question}";
    return frame.replace(frame.find(slot), slot.size(), question);
  };
  switch (style) {
    case Style::kSimple:
      return "Reply with the answer only and add nothing else.\n" + question;
    case Style::kInstructionCentric:
      return filled(kFunction);
    case Style::kChainOfThought:
      return filled(kFunction) + "Build the code step by step and explain each step before you write it.\n";
    case Style::kChat:
      return question;
  }
  fail(Code::kBug, "unknown style {}", static_cast<int>(style));
}

}  // namespace suture::audit
