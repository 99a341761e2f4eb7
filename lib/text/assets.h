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

namespace suture::text {

struct SpecialTokens {  // spellings; empty: none
  std::string bos, eos, unk, pad;
  bool operator==(const SpecialTokens&) const = default;
};

struct TextAssets {
  std::string tokenizer_json;   // empty: none
  std::string chat_template;    // Jinja source; empty: none
  std::string template_origin;  // where the source comes from, for errors
  SpecialTokens special;
  // Tokens that end an answer: EOS, and the end-of-turn token that the chat template writes. Token ids named by
  // generation_config.json or config.json are not here: callers add them.
  std::vector<std::string> stop_tokens;
  Json tokenizer_config = Json::object();
};

// Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json and the template: chat_template.jinja first,
// then tokenizer_config.json's chat_template (a string, or the entry "default" of a list), then chat_template.json.
// Missing files leave their parts empty. Throws Error(kFile) for malformed ones.
TextAssets read_text_assets(const std::filesystem::path& folder);

// The tokenizer section of a GGUF file, key by key (tokenizer.ggml.*, tokenizer.chat_template).
struct GgufVocabulary {
  std::string model, pre;
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; empty: all normal
  std::vector<std::string> merges;
  int64_t bos_id = -1, eos_id = -1, unk_id = -1, pad_id = -1;  // -1: none
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

// File name -> content: what a folder needs so that transformers and read_text_assets load the same tokenizer and
// template (tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat_template.jinja).
std::map<std::string, std::string> to_files(const TextAssets& assets);

}  // namespace suture::text
