// SPDX-License-Identifier: Apache-2.0
// What a checkpoint says about text: tokenizer, chat template, special tokens. From a Hugging Face folder, or rebuilt
// from the metadata of a GGUF file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "text/tokenizer.h"

namespace suture::text {

struct SpecialTokens {  // spellings; empty: none
  std::string bos, eos, unk, pad;
  bool operator==(const SpecialTokens&) const = default;
};

struct TextAssets {
  std::string tokenizer_json;     // empty: none
  std::string tokenizer_problem;  // why there is none, where the folder has a vocabulary of an unsupported kind
  std::string chat_template;      // Jinja source; empty: none
  std::string template_origin;    // where the source comes from, for errors
  std::map<std::string, std::string> other_templates;  // by name ("tool_use"), beside the default one
  SpecialTokens special;
  // Tokens that end an answer: every spelling of EOS that the folder's files name, and the end-of-turn token that the
  // chat template writes.
  std::vector<std::string> stop_tokens;
  // Token ids that end an answer: eos_token_id (a number or a list) of generation_config.json and of config.json, its
  // text_config included.
  std::vector<int32_t> stop_ids;
  Json tokenizer_config = Json::object();
};

// Reads a checkpoint's folder. The tokenizer is tokenizer.json; without one it is built (text/folder_tokenizer.h). The
// template is chat_template.jinja first (others lie in additional_chat_templates/NAME.jinja), then
// tokenizer_config.json's chat_template (a string, or the entry "default" of a list), then chat_template.json. Special
// tokens are those of tokenizer_config.json, then of special_tokens_map.json.
// Missing files leave their parts empty. Throws Error(kFile) for malformed ones, Error(kModel) for several templates
// without a default.
TextAssets read_text_assets(const std::filesystem::path& folder);

// The tokenizer section of a GGUF file, key by key (tokenizer.ggml.*, tokenizer.chat_template).
struct GgufVocabulary {
  std::string model, pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; empty: all normal
  std::vector<std::string> merges;
  int64_t bos_id = -1, eos_id = -1, unk_id = -1, pad_id = -1;  // -1: none
  int64_t eot_id = -1, eom_id = -1;                            // end of a turn, of a message; they stop an answer too
  std::optional<bool> add_bos, add_eos;  // absent in the file: BOS for model "llama", neither for "gpt2"
  bool add_space_prefix = true;
  std::string chat_template;
};

// Builds a tokenizer.json. Model "gpt2" is byte-level BPE with the pre-tokenizer that `pre` names; model "llama" is
// SentencePiece BPE, its merges recovered from the scores. Throws Error(kModel) for other models and unknown `pre`,
// Error(kFile) for a vocabulary that contradicts itself.
TextAssets assets_from_gguf(const GgufVocabulary& vocabulary);

// The names that assets_from_gguf accepts as `pre` of model "gpt2".
std::vector<std::string> known_pre_tokenizers();

// EOS, and the end-of-turn spellings that the template itself writes.
std::vector<std::string> stop_tokens_of(const std::string& chat_template, const std::string& eos);

// Ids of stop_tokens (those the tokenizer has) and stop_ids: sorted, each once.
std::vector<int32_t> all_stop_ids(const TextAssets& assets, const Tokenizer& tokenizer);

// File name -> content: what a folder needs so that transformers and read_text_assets load the same tokenizer and
// template (tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat_template.jinja).
std::map<std::string, std::string> to_files(const TextAssets& assets);

}  // namespace suture::text
