// SPDX-License-Identifier: Apache-2.0
// A checkpoint ready for use with text: transformer, tokenizer, chat template and stop tokens together.
#pragma once
#include <optional>
#include <string>

#include "decode/generate.h"
#include "model/transformer.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace suture::decode {

struct LanguageModel {
  model::Checkpoint checkpoint;
  model::Transformer transformer;
  std::optional<text::Tokenizer> tokenizer;  // absent: ids only
  std::optional<text::ChatTemplate> chat_template;
  std::vector<int32_t> stop_ids;    // union of config, generation config and the text files' own
  std::string date = "2026-01-01";  // what templates see as today
  // Whether spellings of special tokens inside messages become those tokens. Off: a question cannot end its own turn.
  bool special_in_content = false;

  static LanguageModel load(const fs::path& path, model::LoadOptions options);

  const text::Tokenizer& words() const;  // Error(kModel) when there is no tokenizer
  // As transformers encodes a plain text: special tokens added where the tokenizer adds them.
  text::Encoding encode(std::string_view text) const;
  // Rendered by the template, with the opening of the answer, and encoded without adding special tokens again.
  std::string render(const std::vector<text::Message>& messages) const;
  std::vector<int32_t> chat_ids(const std::vector<text::Message>& messages) const;
  std::vector<int32_t> chat_ids(const std::string& user, const std::string& system = "") const;
  std::string decode(const std::vector<int32_t>& ids) const;  // without special tokens
  text::ChatTemplate::Options template_options() const;
};

// Tokenizer, template and stop tokens without weights.
std::optional<text::Tokenizer> make_tokenizer(const model::Checkpoint& checkpoint);
std::optional<text::ChatTemplate> make_chat_template(const model::Checkpoint& checkpoint);
std::vector<int32_t> stop_ids(const model::Checkpoint& checkpoint, const std::optional<text::Tokenizer>& tokenizer);

}  // namespace suture::decode
