// SPDX-License-Identifier: Apache-2.0
// The sections of a tokenizer.json (Hugging Face format), for the builders in lib/text/*.cpp only.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace suture::text {

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's mark for a space

inline constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct AddedToken {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};

struct TokenizerParts {
  Json added_tokens = Json::array();
  Json normalizer, pre_tokenizer, post_processor, decoder, model;  // null: none
};

std::string tokenizer_text(TokenizerParts parts);

Json added_token(const AddedToken& token, int64_t id);
Json byte_level(bool use_regex, bool add_prefix_space = false);
Json split_by_regex(const std::string& regex);  // matches and what lies between them become words of their own
Json replace_text(std::string_view from, std::string_view to);
Json replace_regex(const std::string& from, std::string_view to);
Json metaspace(const char* prepend_scheme);
Json normalizers(Json steps);
Json pre_tokenizers(Json steps);
Json decoders(Json steps);
Json strip_one_space();

// "▁" to " ", and bytes joined to characters; `strip_first_space` undoes a dummy prefix.
Json sentencepiece_decoder(bool byte_fallback, bool strip_first_space);

// {token: id}. Tokens must be distinct.
Json vocabulary_of(const std::vector<std::string>& tokens);

Json bpe_model(Json vocabulary, Json merges);
Json unigram_model(const std::vector<std::pair<std::string, float>>& pieces, int64_t unknown_id, bool byte_fallback);

// Adds BOS before and EOS after; each is a spelling and an id, or nothing.
using NamedId = std::optional<std::pair<std::string, int64_t>>;
Json template_processor(const NamedId& bos, const NamedId& eos);

}  // namespace suture::text
