// SPDX-License-Identifier: Apache-2.0
#include "steps/demonstrations.h"

#include <map>
#include <set>

#include "text/dataset.h"

namespace suture::steps {

Demonstrations read_demonstrations(const fs::path& path) {
  const text::Dataset data = text::read_dataset(path);
  Demonstrations out{data.origin, data.digest, {}};
  for (const text::Row& row : data.rows) out.pairs.push_back({data.text(row, "question"), data.text(row, "answer")});
  if (out.pairs.empty()) fail(Code::kData, "cannot read {}: it holds no demonstrations", path.string());
  return out;
}

Questions read_questions(const fs::path& path, const std::string& column) {
  const text::Dataset data = text::read_dataset(path);
  Questions out{data.origin, data.digest, {}};
  for (const text::Row& row : data.rows) out.texts.push_back(data.text(row, column));
  if (out.texts.empty()) fail(Code::kData, "cannot read {}: it holds no questions", path.string());
  return out;
}

std::vector<int32_t> few_shot_ids(const decode::LanguageModel& model, const std::vector<Demonstration>& shots,
                                  const std::string& query, PromptForm form) {
  if (form == PromptForm::kChat) {
    std::vector<text::Message> messages;
    for (const Demonstration& shot : shots) {
      messages.push_back({"user", shot.question});
      messages.push_back({"assistant", shot.answer});
    }
    messages.push_back({"user", query});
    return model.chat_ids(messages);
  }
  std::string text;
  for (const Demonstration& shot : shots) text += fmt::format("Q: {}\nA: {}\n\n", shot.question, shot.answer);
  return model.encode(text + fmt::format("Q: {}\nA:", query)).ids;
}

std::vector<std::vector<int32_t>> few_shot_prompts(const decode::LanguageModel& model,
                                                   const std::vector<Demonstration>& pairs,
                                                   const std::vector<std::string>& queries, int64_t shots,
                                                   PromptForm form, uint64_t seed) {
  if (shots > int64_t(pairs.size()))
    fail(Code::kConfig, "cannot draw {} demonstrations: there are {}", shots, pairs.size());
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < queries.size(); ++i) {
    Stream stream(seed, fmt::format("shots/{}", i));
    std::vector<Demonstration> drawn;
    for (const int64_t index : stream.sample(int64_t(pairs.size()), shots)) drawn.push_back(pairs[size_t(index)]);
    prompts.push_back(few_shot_ids(model, drawn, queries[i], form));
  }
  return prompts;
}

namespace {

// Chat answers start a turn, plain ones follow "A:" and a space.
std::vector<int32_t> answer_ids(const decode::LanguageModel& model, const Demonstration& pair, PromptForm form) {
  return model.words().encode(form == PromptForm::kChat ? pair.answer : " " + pair.answer).ids;
}

}  // namespace

std::vector<int32_t> first_answer_tokens(const decode::LanguageModel& model, const std::vector<Demonstration>& pairs,
                                         PromptForm form) {
  std::set<int32_t> tokens;
  for (const Demonstration& pair : pairs) tokens.insert(answer_ids(model, pair, form).at(0));
  return {tokens.begin(), tokens.end()};
}

std::vector<int32_t> common_opening(const decode::LanguageModel& model, const std::vector<Demonstration>& pairs,
                                    PromptForm form, int64_t count) {
  std::map<std::vector<int32_t>, int64_t> openings;
  std::vector<int32_t> best;
  for (const Demonstration& pair : pairs) {
    std::vector<int32_t> ids = answer_ids(model, pair, form);
    if (int64_t(ids.size()) < count) continue;
    ids.resize(size_t(count));
    const int64_t times = ++openings[ids];
    if (best.empty() || times > openings[best]) best = ids;
  }
  if (int64_t(best.size()) < count) fail(Code::kData, "cannot take {} opening tokens: every answer is shorter", count);
  return best;
}

}  // namespace suture::steps
