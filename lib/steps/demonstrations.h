// SPDX-License-Identifier: Apache-2.0
// Few-shot prompts from demonstration pairs, as chat turns or in the plain question/answer form of the paper.
#pragma once
#include "decode/language_model.h"

namespace suture::steps {

struct Demonstration {
  std::string question, answer;
};

struct Demonstrations {
  std::string origin, digest;
  std::vector<Demonstration> pairs;
};
// Data set with columns `question` and `answer`. Error(kData).
Demonstrations read_demonstrations(const fs::path& path);

struct Questions {
  std::string origin, digest;
  std::vector<std::string> texts;
};
Questions read_questions(const fs::path& path, const std::string& column = "question");

enum class PromptForm {
  kChat,   // the model's own template, demonstrations as earlier turns
  kPlain,  // "Q: ...\nA: ...\n\n" blocks, ending in "A:"
};

// Ids of one prompt: the demonstrations in order, then the query, up to where the answer starts.
std::vector<int32_t> few_shot_ids(const decode::LanguageModel& model, const std::vector<Demonstration>& shots,
                                  const std::string& query, PromptForm form);

// One prompt a query, each with `shots` demonstrations drawn without replacement from the stream (seed, "shots/<i>").
std::vector<std::vector<int32_t>> few_shot_prompts(const decode::LanguageModel& model,
                                                   const std::vector<Demonstration>& pairs,
                                                   const std::vector<std::string>& queries, int64_t shots,
                                                   PromptForm form, uint64_t seed);

// First tokens of the answers as they follow a prompt in this form, each once.
std::vector<int32_t> first_answer_tokens(const decode::LanguageModel& model, const std::vector<Demonstration>& pairs,
                                         PromptForm form);

// The first `count` tokens that most answers start with, as they follow a prompt in this form; ties go to the earlier
// answer.
std::vector<int32_t> common_opening(const decode::LanguageModel& model, const std::vector<Demonstration>& pairs,
                                    PromptForm form, int64_t count);

}  // namespace suture::steps
