// SPDX-License-Identifier: Apache-2.0
#include "steps/second_moment.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "core/progress.h"
#include "steps/collect.h"
#include "text/dataset.h"

namespace suture::steps {
namespace {

constexpr int64_t kBatchTokens = 2048;

void add_batch(const model::Transformer& model, int64_t layer, const std::vector<std::vector<int32_t>>& texts,
               tensor::SecondMoment& moment) {
  const model::Batch batch = model::pad_left(texts);
  const hook::Point key{hook::Site::kMlpKey, layer};
  Recorder recorder({key}, Recorder::Keep::kEverything);
  model.blocks(0, layer + 1, model.embed(batch, nullptr), batch.tokens, model.geometry(batch.tokens, nullptr), nullptr,
               &recorder);
  const at::Tensor key_BTF = recorder.at(key);
  const at::Tensor real = (batch.tokens.position_BT >= 0).flatten().nonzero().squeeze(1).to(key_BTF.device());
  moment.add(key_BTF.flatten(0, 1).index_select(0, real));
}

}  // namespace

std::vector<std::vector<int32_t>> self_written(const decode::LanguageModel& model, int64_t tokens, int64_t length,
                                               uint64_t seed) {
  static const std::vector<std::string> openings = {"The", "In",    "A",  "This", "When", "For", "It",  "If",
                                                    "She", "There", "We", "On",   "As",   "He",  "One", "Most"};
  decode::GenerateOptions options;
  options.max_new = length;
  options.batch = 64;
  options.sampling = {.temperature = 1};
  std::vector<std::vector<int32_t>> texts;
  int64_t written = 0;
  Progress progress("text for the second moment", tokens, "tokens");
  options.on_step = [&progress](int64_t made) { progress.advance(made); };
  for (int64_t round = 0; written < tokens; ++round) {
    const int64_t rows = std::clamp<int64_t>((tokens - written + length - 1) / length, 1, options.batch);
    std::vector<decode::Prompt> prompts;
    for (int64_t i = 0; i < rows; ++i) prompts.push_back({model.encode(openings[size_t(i) % openings.size()]).ids, {}});
    options.seed = Stream(seed, fmt::format("second-moment/{}", round)).next();
    options.stop_ids = model.stop_ids;
    decode::PlainNextToken next(model.transformer, nullptr);
    const auto completions = decode::generate(next, prompts, options);
    for (int64_t i = 0; i < rows && written < tokens; ++i) {
      std::vector<int32_t> ids = prompts[size_t(i)].ids;
      ids.insert(ids.end(), completions[size_t(i)].ids.begin(), completions[size_t(i)].ids.end());
      ids.resize(std::min(ids.size(), size_t(tokens - written)));
      written += int64_t(ids.size());
      texts.push_back(std::move(ids));
    }
  }
  return texts;
}

std::vector<std::string> paragraphs(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    std::string paragraph = text.substr(begin, end - begin);
    std::replace(paragraph.begin(), paragraph.end(), '\n', ' ');
    const size_t first = paragraph.find_first_not_of(" \t\r"), last = paragraph.find_last_not_of(" \t\r");
    if (first != std::string::npos) out.push_back(paragraph.substr(first, last - first + 1));
    begin = end + 2;
  }
  return out;
}

std::vector<std::vector<int32_t>> texts_of(const decode::LanguageModel& model, const fs::path& path, int64_t tokens,
                                           int64_t length) {
  std::vector<std::string> texts;
  if (path.extension() == ".txt") {
    texts = paragraphs(read_text(path, Code::kData));
  } else {
    const text::Dataset data = text::read_dataset(path);
    for (const text::Row& row : data.rows) texts.push_back(data.text(row, "text"));
  }
  std::vector<std::vector<int32_t>> out;
  int64_t count = 0;
  for (const std::string& text : texts) {
    std::vector<int32_t> ids = model.encode(text).ids;
    ids.resize(std::min<size_t>(ids.size(), size_t(tokens > 0 ? std::min(length, tokens - count) : length)));
    if (ids.empty()) continue;
    count += int64_t(ids.size());
    out.push_back(std::move(ids));
    if (tokens > 0 && count >= tokens) break;
  }
  if (out.empty()) fail(Code::kData, "cannot read {}: it holds no text", path.string());
  return out;
}

tensor::SecondMoment second_moment(const model::Transformer& model, int64_t layer,
                                   const std::vector<std::vector<int32_t>>& texts) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<int32_t>> order = texts;
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  tensor::SecondMoment moment(model.config().hidden);
  Progress progress("second moment", int64_t(order.size()), "texts");
  for (size_t begin = 0; begin < order.size();) {
    const size_t rows = std::clamp<size_t>(size_t(kBatchTokens) / order[begin].size(), 1, order.size() - begin);
    add_batch(model, layer, {order.begin() + int64_t(begin), order.begin() + int64_t(begin + rows)}, moment);
    begin += rows;
    progress.advance(int64_t(rows));
  }
  return moment;
}

}  // namespace suture::steps
