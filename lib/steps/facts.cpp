// SPDX-License-Identifier: Apache-2.0
#include "steps/facts.h"

#include <set>

#include "text/subject.h"
#include "text/utf8.h"

namespace suture::steps {
namespace {

std::vector<std::string> list_of(const text::Dataset& data, const text::Row& row, const std::string& key) {
  std::vector<std::string> texts;
  if (!row.fields.contains(key)) return texts;
  const Json& value = row.fields[key];
  if (!value.is_array()) fail(Code::kData, "cannot read {}: '{}' must be a list of texts", data.place(row), key);
  for (const Json& item : value) {
    if (!item.is_string())
      fail(Code::kData, "cannot read {}: '{}' must be a list of texts, got {}", data.place(row), key, item.dump());
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::string text_or(const text::Dataset& data, const text::Row& row, const std::string& key, std::string otherwise) {
  return row.fields.contains(key) ? data.text(row, key) : std::move(otherwise);
}

Fact read_fact(const text::Dataset& data, const text::Row& row) {
  static const std::set<std::string> known = {"id",          "subject",     "prompt",     "target_new",
                                              "target_true", "paraphrases", "neighbours", "generation"};
  for (const auto& [key, value] : row.fields.items())
    if (!known.contains(key)) fail(Code::kData, "cannot read {}: unknown field '{}'", data.place(row), key);
  Fact fact;
  fact.line = row.line;
  fact.id = text_or(data, row, "id", fmt::format("line-{}", row.line));
  fact.subject = data.text(row, "subject");
  fact.prompt = data.text(row, "prompt");
  fact.target_new = data.text(row, "target_new");
  fact.target_true = text_or(data, row, "target_true", "");
  fact.paraphrases = list_of(data, row, "paraphrases");
  fact.neighbours = list_of(data, row, "neighbours");
  fact.generation = list_of(data, row, "generation");
  const int64_t holes = text::count_subject(fact.prompt, "{}");
  if (holes != 1)
    fail(Code::kData, "cannot read {}: prompt must have one '{{}}' for the subject, it has {}", data.place(row), holes);
  if (fact.subject.empty() || fact.target_new.empty())
    fail(Code::kData, "cannot read {}: subject and target_new must not be empty", data.place(row));
  return fact;
}

}  // namespace

std::string Fact::text() const {
  const size_t hole = prompt.find("{}");
  return prompt.substr(0, hole) + subject + prompt.substr(hole + 2);
}

Facts read_facts(const fs::path& path) {
  const text::Dataset data = text::read_dataset(path);
  Facts facts{data.origin, data.digest, {}};
  std::set<std::string> ids;
  for (const text::Row& row : data.rows) {
    facts.facts.push_back(read_fact(data, row));
    if (!ids.insert(facts.facts.back().id).second)
      fail(Code::kData, "cannot read {}: id '{}' is used twice", data.place(row), facts.facts.back().id);
  }
  if (facts.facts.empty()) fail(Code::kData, "cannot read {}: it holds no facts", path.string());
  return facts;
}

std::vector<Fact> chosen_facts(const Facts& all, const std::vector<std::string>& only) {
  if (only.empty()) return all.facts;
  std::vector<Fact> facts;
  for (const std::string& id : only) {
    const auto it = std::find_if(all.facts.begin(), all.facts.end(), [&](const Fact& f) { return f.id == id; });
    if (it == all.facts.end()) fail(Code::kConfig, "cannot find fact '{}' in {}", id, all.origin);
    facts.push_back(*it);
  }
  return facts;
}

std::vector<std::string> sample_contexts(const decode::LanguageModel& model, const std::vector<int64_t>& lengths,
                                         int64_t count, uint64_t seed) {
  static const std::vector<std::string> openings = {"The", "Therefore", "Because", "I", "You"};
  std::vector<std::string> contexts = {""};
  for (const int64_t length : lengths) {
    std::vector<decode::Prompt> prompts;
    for (int64_t i = 0; i < count; ++i)
      prompts.push_back({model.encode(openings[size_t(i) % openings.size()]).ids, {}});
    decode::PlainNextToken next(model.transformer, nullptr);
    decode::GenerateOptions options;
    options.max_new = length;
    options.stop_ids = model.stop_ids;
    options.sampling = {.temperature = 1, .top_k = 5};
    options.seed = Stream(seed, fmt::format("contexts/{}", length)).next();
    const auto written = decode::generate(next, prompts, options);
    for (int64_t i = 0; i < count; ++i) {
      std::string text = openings[size_t(i) % openings.size()] + model.decode(written[size_t(i)].ids);
      std::erase_if(text, [](char c) { return c == '{' || c == '}'; });
      while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
      contexts.push_back(text + ". ");
    }
  }
  return contexts;
}

std::pair<std::vector<int32_t>, std::vector<int32_t>> split_ids(const decode::LanguageModel& model,
                                                                const std::string& prompt,
                                                                const std::string& continuation) {
  const std::string space = continuation.starts_with(' ') || prompt.ends_with(' ') ? "" : " ";
  const text::Encoding all = model.encode(prompt + space + continuation);
  const int64_t border = text::count_code_points(prompt);
  std::pair<std::vector<int32_t>, std::vector<int32_t>> out;
  for (size_t i = 0; i < all.ids.size(); ++i)
    (all.offsets[i].end <= border ? out.first : out.second).push_back(all.ids[i]);
  if (out.second.empty() || out.first.empty())
    fail(Code::kData, "cannot split '{}' from '{}': they share every token", continuation, prompt);
  return out;
}

ValueProblem make_problem(const decode::LanguageModel& model, const Fact& fact,
                          const std::vector<std::string>& contexts) {
  const int64_t subject_at = text::count_code_points(fact.prompt.substr(0, fact.prompt.find("{}")));
  const int64_t subject_length = text::count_code_points(fact.subject);
  const auto subject_token = [&](const std::string& text, int64_t begin) {
    const auto index = text::last_token_of(model.words(), text, model.encode(text), {begin, begin + subject_length});
    if (!index) fail(Code::kData, "cannot find subject '{}' among the tokens of '{}'", fact.subject, text);
    return *index;
  };
  ValueProblem problem;
  problem.target = split_ids(model, fact.text(), fact.target_new).second;
  for (const std::string& context : contexts) {
    const std::string text = context + fact.text();
    ValueRow row{split_ids(model, text, fact.target_new).first,
                 subject_token(text, text::count_code_points(context) + subject_at)};
    row.ids.insert(row.ids.end(), problem.target.begin(), problem.target.end() - 1);
    problem.contexts.push_back(std::move(row));
  }
  const std::string essence = fact.subject + " is a";
  problem.essence = {model.encode(essence).ids, subject_token(essence, 0)};
  return problem;
}

}  // namespace suture::steps
