// SPDX-License-Identifier: Apache-2.0
// suture generate: completions of prompts, with or without a plan and a guide.
#include <sstream>

#include "core/progress.h"
#include "tensor/dtype.h"
#include "text/dataset.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

namespace po = boost::program_options;

void options(po::options_description& own) {
  own.add_options()("file", po::value<std::string>()->value_name("PATH"),
                    "prompts: .jsonl, .json or .csv with a column, or .txt with one a line")(
      "column", po::value<std::string>()->value_name("NAME")->default_value("prompt"), "column of the file")(
      "plan", po::value<std::string>()->value_name("YAML"), "interventions on activations")(
      "guide", po::value<std::string>()->value_name("YAML"), "safety-guided decoding")(
      "system", po::value<std::string>()->value_name("TEXT")->default_value(""), "system prompt")(
      "raw", po::bool_switch(), "prompts are plain text: no chat template")(
      "max-new", po::value<int64_t>()->value_name("N")->default_value(128), "tokens a completion")(
      "batch", po::value<int64_t>()->value_name("N")->default_value(32), "prompts at a time")(
      "temperature", po::value<double>()->value_name("X")->default_value(0), "0 takes the likeliest token")(
      "top-k", po::value<int64_t>()->value_name("N")->default_value(0), "sample among the N likeliest; 0: all")(
      "top-p", po::value<double>()->value_name("X")->default_value(1), "sample within this probability mass");
}

decode::GenerateOptions generate_options(const Invocation& invocation) {
  decode::GenerateOptions options;
  options.max_new = invocation.get<int64_t>("max-new");
  options.batch = invocation.get<int64_t>("batch");
  options.sampling = {invocation.get<double>("temperature"), invocation.get<int64_t>("top-k"),
                      invocation.get<double>("top-p")};
  options.seed = invocation.common.seed;
  if (options.max_new < 1) fail(Code::kUsage, "--max-new must be at least 1, got {}", options.max_new);
  if (options.batch < 1) fail(Code::kUsage, "--batch must be at least 1, got {}", options.batch);
  if (!(options.sampling.temperature >= 0))
    fail(Code::kUsage, "--temperature must be at least 0, got {}", options.sampling.temperature);
  if (options.sampling.top_k < 0) fail(Code::kUsage, "--top-k must be at least 0, got {}", options.sampling.top_k);
  if (!(options.sampling.top_p > 0 && options.sampling.top_p <= 1))
    fail(Code::kUsage, "--top-p must lie in (0, 1], got {}", options.sampling.top_p);
  return options;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::istringstream text(read_text(path));
  for (std::string line; std::getline(text, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> read_prompts(const Invocation& invocation) {
  const bool given = !invocation.positional_or(1, "").empty(), file = invocation.has("file");
  if (given == file) fail(Code::kUsage, "give either PROMPT or --file, got {}", given ? "both" : "neither");
  if (given) return {invocation.positional(1, "PROMPT")};
  const fs::path path = invocation.get<std::string>("file");
  std::vector<std::string> prompts;
  if (path.extension() == ".txt") {
    prompts = lines_of(path);
  } else {
    const text::Dataset data = text::read_dataset(path);
    for (const text::Row& row : data.rows) prompts.push_back(data.text(row, invocation.get<std::string>("column")));
  }
  if (prompts.empty()) fail(Code::kData, "cannot generate from {}: it has no prompts", path.string());
  return prompts;
}

Json completion_json(const decode::LanguageModel& model, const Voice& voice, const std::string& prompt,
                     const decode::Completion& completion) {
  Json json = {{"prompt", prompt},
               {"completion", model.decode(completion.ids)},
               {"ids", completion.ids},
               {"finish", completion.finish == decode::Finish::kStop ? "stop" : "length"}};
  if (voice.plan->gate) json["gate_open"] = completion.gate_open;
  return json;
}

std::string text_of(const Json& completions) {
  if (completions.size() == 1) return completions[0]["completion"].get<std::string>();
  std::string text;
  for (size_t i = 0; i < completions.size(); ++i)
    text += fmt::format("{}[{}] {}\n{}\n", i == 0 ? "" : "\n", i + 1, completions[i]["prompt"].get<std::string>(),
                        completions[i]["completion"].get<std::string>());
  return text;
}

std::vector<decode::Prompt> make_prompts(const decode::LanguageModel& model, const Voice& voice,
                                         const std::vector<std::string>& texts, int64_t max_new) {
  std::vector<decode::Prompt> prompts;
  for (const std::string& text : texts) {
    prompts.push_back(voice.prompt(text));
    const std::string what = fmt::format("prompt {}", prompts.size());
    require_ids(prompts.back().ids, model.checkpoint.config(), max_new, what);
    if (!prompts.back().other_ids.empty())
      require_ids(prompts.back().other_ids, model.checkpoint.config(), max_new, what);
  }
  return prompts;
}

Json generate(const decode::LanguageModel& model, Voice& voice, const std::vector<std::string>& texts,
              const decode::GenerateOptions& options) {
  const std::vector<decode::Prompt> prompts = make_prompts(model, voice, texts, options.max_new);
  Progress progress("generate", int64_t(prompts.size()), "prompts");
  const Stopwatch watch;
  const auto completions =
      decode::generate(*voice.next, prompts, options, [&](size_t, const decode::Completion&) { progress.advance(); });
  int64_t tokens = 0;
  Json json = Json::array();
  for (size_t i = 0; i < completions.size(); ++i) {
    tokens += int64_t(completions[i].ids.size());
    json.push_back(completion_json(model, voice, texts[i], completions[i]));
  }
  const double seconds = watch.seconds();
  return {
      {"tokens", tokens}, {"seconds", seconds}, {"tokens_per_second", double(tokens) / seconds}, {"completions", json}};
}

int run(const Invocation& invocation) {
  require_no_set(invocation);
  require_new_file(invocation);
  decode::GenerateOptions options = generate_options(invocation);
  const std::vector<std::string> texts = read_prompts(invocation);
  const VoiceSettings settings{invocation.get<std::string>("plan", ""), invocation.get<std::string>("guide", ""),
                               invocation.get<std::string>("system"), invocation.flag("raw")};
  const auto model = decode::LanguageModel::load(invocation.positional(0, "MODEL"), load_options(invocation));
  if (!settings.raw && model.tokenizer && !model.chat_template)
    fail(Code::kModel, "cannot chat with {}: it has no chat template; use --raw", model.checkpoint.path().string());
  options.stop_ids = model.stop_ids;
  Voice voice = make_voice(model, settings);
  if (invocation.common.check) return make_prompts(model, voice, texts, options.max_new), 0;
  Json json = {{"model", model.checkpoint.path().string()},
               {"dtype", tensor::flag_spelling(model.transformer.dtype())}};
  json["environment"] = environment();
  json.update(voice.to_json());
  json["sampling"] = {{"temperature", options.sampling.temperature},
                      {"top_k", options.sampling.top_k},
                      {"top_p", options.sampling.top_p},
                      {"seed", options.seed},
                      {"max_new", options.max_new}};
  json.update(generate(model, voice, texts, options));
  give(invocation, json, text_of(json["completions"]));
  return 0;
}

}  // namespace

const Command kGenerate{.name = "generate",
                        .usage = "generate MODEL [PROMPT] [--file PATH] [--plan YAML] [--guide YAML]",
                        .summary = "complete prompts, with or without a plan and a guide",
                        .options = options,
                        .run = run};

}  // namespace suture::cli
