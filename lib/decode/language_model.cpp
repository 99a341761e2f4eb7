// SPDX-License-Identifier: Apache-2.0
#include "decode/language_model.h"

#include <set>

namespace suture::decode {

std::optional<text::Tokenizer> make_tokenizer(const model::Checkpoint& checkpoint) {
  const std::string& json = checkpoint.text().tokenizer_json;
  if (json.empty()) return std::nullopt;
  return text::Tokenizer::from_json(json, checkpoint.path().string());
}

std::optional<text::ChatTemplate> make_chat_template(const model::Checkpoint& checkpoint) {
  const text::TextAssets& assets = checkpoint.text();
  if (assets.chat_template.empty()) return std::nullopt;
  return text::ChatTemplate::parse(assets.chat_template, assets.template_origin);
}

std::vector<int32_t> stop_ids(const model::Checkpoint& checkpoint, const std::optional<text::Tokenizer>& tokenizer) {
  const std::vector<int32_t> named = checkpoint.stop_ids();
  std::set<int32_t> stops(named.begin(), named.end());
  if (tokenizer)
    for (const std::string& token : checkpoint.text().stop_tokens)
      if (const auto id = tokenizer->token_to_id(token)) stops.insert(*id);
  return {stops.begin(), stops.end()};
}

LanguageModel LanguageModel::load(const fs::path& path, model::LoadOptions options) {
  model::Checkpoint checkpoint = model::Checkpoint::open(path);
  model::Transformer transformer = model::Transformer::load(checkpoint, options);
  std::optional<text::Tokenizer> tokenizer = make_tokenizer(checkpoint);
  std::optional<text::ChatTemplate> chat = make_chat_template(checkpoint);
  std::vector<int32_t> stops = decode::stop_ids(checkpoint, tokenizer);
  return {std::move(checkpoint), std::move(transformer), std::move(tokenizer), std::move(chat), std::move(stops)};
}

const text::Tokenizer& LanguageModel::words() const {
  const std::string& problem = checkpoint.text().tokenizer_problem;
  if (!tokenizer) {
    fail(Code::kModel, "cannot read text with {}: {}", checkpoint.path().string(),
         problem.empty() ? "it has no tokenizer.json" : problem);
  }
  return *tokenizer;
}

text::Encoding LanguageModel::encode(std::string_view text) const {
  return words().encode(text, {.add_special_tokens = true});
}

std::string LanguageModel::render(const std::vector<text::Message>& messages) const {
  if (!chat_template) fail(Code::kModel, "cannot chat with {}: it has no chat template", checkpoint.path().string());
  return chat_template->render(messages, template_options());
}

text::ChatTemplate::Options LanguageModel::template_options() const {
  const text::SpecialTokens& special = checkpoint.text().special;
  return {.bos_token = special.bos, .eos_token = special.eos, .date = date};
}

std::vector<int32_t> LanguageModel::chat_ids(const std::vector<text::Message>& messages) const {
  if (!chat_template) fail(Code::kModel, "cannot chat with {}: it has no chat template", checkpoint.path().string());
  return text::encode_chat(words(), *chat_template, messages, template_options(), special_in_content);
}

std::vector<int32_t> LanguageModel::chat_ids(const std::string& user, const std::string& system) const {
  std::vector<text::Message> messages;
  if (!system.empty()) messages.push_back({"system", system});
  messages.push_back({"user", user});
  return chat_ids(messages);
}

std::string LanguageModel::decode(const std::vector<int32_t>& ids) const { return words().decode(ids); }

}  // namespace suture::decode
