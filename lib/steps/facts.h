// SPDX-License-Identifier: Apache-2.0
// Facts to write: their file format, the contexts a key is averaged over, and the problem an editor solves.
#pragma once
#include "decode/language_model.h"
#include "steps/optimise_value.h"
#include "text/dataset.h"

namespace suture::steps {

// One JSON object a line: subject, prompt with one "{}", target_new; optional id, target_true, paraphrases, neighbours,
// generation (full texts).
struct Fact {
  std::string id, subject, prompt, target_new, target_true;
  std::vector<std::string> paraphrases, neighbours, generation;
  int64_t line = 0;
  std::string text() const;  // the prompt with its subject
};

struct Facts {
  std::string origin, digest;
  std::vector<Fact> facts;
};
Facts read_facts(const fs::path& path);  // Error(kData) with file and line
// The facts with these ids, in their order; all when `only` is empty. Error(kConfig) names an unknown id.
std::vector<Fact> chosen_facts(const Facts& all, const std::vector<std::string>& only);

// Short texts written by the model, to stand in front of a prompt (ROME, section E.5): `count` of each length in
// `lengths`, sampled with top-k 5. The empty context comes first.
std::vector<std::string> sample_contexts(const decode::LanguageModel& model, const std::vector<int64_t>& lengths,
                                         int64_t count, uint64_t seed);

// "{prefix}. {prompt}" for every context, with the subject's last token found by character offsets.
// Error(kData) when a context moves or hides the subject.
ValueProblem make_problem(const decode::LanguageModel& model, const Fact& fact,
                          const std::vector<std::string>& contexts);

// Token ids of a continuation after a prompt, split off an encoding of the whole: {prompt ids, continuation ids}.
std::pair<std::vector<int32_t>, std::vector<int32_t>> split_ids(const decode::LanguageModel& model,
                                                                const std::string& prompt,
                                                                const std::string& continuation);

}  // namespace suture::steps
