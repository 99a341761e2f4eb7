// SPDX-License-Identifier: Apache-2.0
// Rebuilds a tokenizer.json from the vocabulary of a GGUF file. Which pre-tokenizer a `pre` name stands for follows the
// tokenizer.json of the models that carry it.
#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "text/assets.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace suture::text {

namespace {

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

// The long classes below are written out as the models' own files have them.
constexpr const char* kQwen35Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenSplit =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4oSplit =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSeedSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kNumbersUpTo3 = R"(\p{N}{1,3})";
constexpr const char* kCjk = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr const char* kWideCjk = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";

enum Option : unsigned {
  kNone = 0,
  kDigits = 1,           // every digit a word of its own, before the splits
  kGpt2Words = 2,        // the split of GPT-2 last, built into the byte-level step
  kCompose = 4,          // NFC first
  kWholeWordsFirst = 8,  // a word that is a token is never assembled from merges
  kDigitsAfter = 16,     // every digit a word of its own, after the splits
  kFalcon = 32,          // runs of punctuation, then GPT-2's words, then digits in threes
};

// One row for each way to cut a text, with all its names. The splits apply one after the other.
struct PreTokenizer {
  std::vector<const char*> names;
  std::vector<const char*> splits;
  unsigned options;
};

const std::vector<PreTokenizer>& pre_tokenizer_rows() {
  static const std::vector<PreTokenizer> rows = {
      {{"default", "gpt-2", "phi-2", "jais"}, {}, kGpt2Words},
      {{"mpt", "olmo"}, {}, kCompose | kGpt2Words},
      {{"smollm", "starcoder", "refact"}, {}, kDigits | kGpt2Words},
      {{"command-r"}, {}, kCompose | kDigits | kGpt2Words},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"},
       {kLlama3Split},
       kWholeWordsFirst},
      {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, {kLlama3Split}, kNone},
      {{"qwen2", "deepseek-r1-qwen", "megrez"}, {kQwen2Split}, kCompose},
      {{"stablelm2", "hunyuan", "grok-2"}, {kQwen2Split}, kNone},
      {{"qwen35"}, {kQwen35Split}, kCompose},
      {{"tekken"}, {kTekkenSplit}, kWholeWordsFirst},
      {{"gpt-4o", "llama4", "minimax-m2"}, {kGpt4oSplit}, kNone},
      {{"seed-coder"}, {kSeedSplit}, kNone},
      {{"deepseek-v3", "hunyuan-dense"}, {kNumbersUpTo3, kCjk, kDeepseekWords}, kNone},
      {{"deepseek-coder"}, {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kWideCjk}, kDigitsAfter},
      {{"falcon"}, {}, kFalcon},
  };
  return rows;
}

const PreTokenizer& pre_tokenizer_named(const std::string& name) {
  const std::string wanted = name.empty() ? "default" : name;
  for (const PreTokenizer& row : pre_tokenizer_rows()) {
    if (std::find(row.names.begin(), row.names.end(), wanted) != row.names.end()) return row;
  }
  fail(Code::kModel, "unsupported pre-tokenizer '{}' in the GGUF vocabulary: known are {}", name,
       fmt::join(known_pre_tokenizers(), ", "));
}

using Ids = std::unordered_map<std::string_view, int32_t>;

int32_t type_of(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.types.empty() ? kNormal : vocabulary.types[id];
}

Ids index_tokens(const GgufVocabulary& vocabulary) {
  const size_t count = vocabulary.tokens.size();
  if (count == 0) fail(Code::kFile, "the GGUF vocabulary has no tokens");
  if (!vocabulary.types.empty() && vocabulary.types.size() != count) {
    fail(Code::kFile, "the GGUF vocabulary has {} tokens but {} token types", count, vocabulary.types.size());
  }
  Ids ids;
  ids.reserve(count);
  for (size_t id = 0; id < count; ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (first_invalid_byte(token)) fail(Code::kFile, "token {} of the GGUF vocabulary is not valid UTF-8", id);
    const auto [place, fresh] = ids.emplace(token, static_cast<int32_t>(id));
    if (!fresh) fail(Code::kFile, "tokens {} and {} of the GGUF vocabulary are both '{}'", place->second, id, token);
  }
  return ids;
}

std::string token_at(const GgufVocabulary& vocabulary, int64_t id, const char* what) {
  if (id < 0) return "";
  if (id >= static_cast<int64_t>(vocabulary.tokens.size())) {
    fail(Code::kFile, "{} id {} is outside the GGUF vocabulary of {} tokens", what, id, vocabulary.tokens.size());
  }
  return vocabulary.tokens[static_cast<size_t>(id)];
}

SpecialTokens special_of(const GgufVocabulary& vocabulary) {
  SpecialTokens special{token_at(vocabulary, vocabulary.bos_id, "BOS"), token_at(vocabulary, vocabulary.eos_id, "EOS"),
                        token_at(vocabulary, vocabulary.unk_id, "unknown token"),
                        token_at(vocabulary, vocabulary.pad_id, "padding")};
  if (special.unk.empty() && vocabulary.model == "llama") {
    const auto unknown = std::find(vocabulary.types.begin(), vocabulary.types.end(), kUnknown);
    if (unknown != vocabulary.types.end()) {
      special.unk = vocabulary.tokens[static_cast<size_t>(unknown - vocabulary.types.begin())];
    }
  }
  return special;
}

Json added_tokens(const GgufVocabulary& vocabulary, const SpecialTokens& special) {
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    const int32_t type = type_of(vocabulary, id);
    const bool named = token == special.bos || token == special.eos || token == special.unk || token == special.pad;
    const bool is_special = type == kControl || named;
    if (token.empty() || (!is_special && type != kUserDefined)) continue;
    added.push_back(added_token({.content = token, .special = is_special}, static_cast<int64_t>(id)));
  }
  return added;
}

Json post_processor(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const bool add_bos = vocabulary.add_bos.value_or(vocabulary.model == "llama" && !special.bos.empty());
  const bool add_eos = vocabulary.add_eos.value_or(false);
  if (add_bos && special.bos.empty()) fail(Code::kFile, "the GGUF vocabulary adds BOS but names no BOS token");
  if (add_eos && special.eos.empty()) fail(Code::kFile, "the GGUF vocabulary adds EOS but names no EOS token");
  if (!add_bos && !add_eos) return nullptr;
  const auto named = [&](bool used, const std::string& token) {
    return used ? NamedId(std::pair(token, int64_t{ids.at(token)})) : std::nullopt;
  };
  return template_processor(named(add_bos, special.bos), named(add_eos, special.eos));
}

Json single_digits() { return {{"type", "Digits"}, {"individual_digits", true}}; }

Json falcon_steps() {
  return Json::array({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                      byte_level(true),
                      {{"type", "Digits"}, {"individual_digits", false}},
                      split_by_regex("[0-9][0-9][0-9]")});
}

Json byte_level_pre_tokenizer(const PreTokenizer& row) {
  if (row.options & kFalcon) return pre_tokenizers(falcon_steps());
  const bool gpt2_words = (row.options & kGpt2Words) != 0;
  Json steps = Json::array();
  if (row.options & kDigits) steps.push_back(single_digits());
  for (const char* split : row.splits) steps.push_back(split_by_regex(split));
  if (row.options & kDigitsAfter) steps.push_back(single_digits());
  if (steps.empty()) return byte_level(gpt2_words);
  steps.push_back(byte_level(gpt2_words));
  return pre_tokenizers(std::move(steps));
}

Json listed_merges(const GgufVocabulary& vocabulary, const Ids& ids) {
  Json merges = Json::array();
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string& merge = vocabulary.merges[i];
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) fail(Code::kFile, "merge {} of the GGUF vocabulary is no pair: '{}'", i, merge);
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    for (const std::string& part : {left, right, left + right}) {
      if (!ids.contains(part)) {
        fail(Code::kFile, "merge {} of the GGUF vocabulary needs '{}', which is no token", i, part);
      }
    }
    merges.push_back(Json::array({left, right}));
  }
  return merges;
}

struct ScoredMerge {
  std::string_view left, right;
  float score;
  int64_t left_length, right_length;  // in code points
};

// All ways to assemble `token` from two tokens, those with the earliest left part first.
std::vector<ScoredMerge> splits_of(std::string_view token, float score, const Ids& mergeable) {
  std::vector<ScoredMerge> found;
  const int64_t length = count_code_points(token);
  int64_t seen = 0;
  for (size_t cut = 1; cut < token.size(); ++cut) {
    if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
    ++seen;
    const std::string_view left = token.substr(0, cut), right = token.substr(cut);
    if (mergeable.contains(left) && mergeable.contains(right)) {
      found.push_back({left, right, score, seen, length - seen});
    }
  }
  std::sort(found.begin(), found.end(),
            [&](const ScoredMerge& a, const ScoredMerge& b) { return mergeable.at(a.left) < mergeable.at(b.left); });
  return found;
}

// SentencePiece joins the neighbours whose union scores best; a BPE merge list in order of falling score does the same.
Json merges_from_scores(const GgufVocabulary& vocabulary) {
  if (vocabulary.scores.size() != vocabulary.tokens.size()) {
    fail(Code::kFile, "the GGUF vocabulary has {} tokens but {} scores", vocabulary.tokens.size(),
         vocabulary.scores.size());
  }
  Ids mergeable;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const int32_t type = type_of(vocabulary, id);
    if (type == kNormal || type == kUserDefined) mergeable.emplace(vocabulary.tokens[id], static_cast<int32_t>(id));
  }
  std::vector<ScoredMerge> all;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!mergeable.contains(vocabulary.tokens[id])) continue;
    const auto found = splits_of(vocabulary.tokens[id], vocabulary.scores[id], mergeable);
    all.insert(all.end(), found.begin(), found.end());
  }
  std::stable_sort(all.begin(), all.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    return std::tie(b.score, b.left_length, b.right_length) < std::tie(a.score, a.left_length, a.right_length);
  });
  Json merges = Json::array();
  for (const ScoredMerge& merge : all) merges.push_back(Json::array({merge.left, merge.right}));
  return merges;
}

std::string byte_level_tokenizer(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const PreTokenizer& row = pre_tokenizer_named(vocabulary.pre);
  TokenizerParts parts;
  parts.added_tokens = added_tokens(vocabulary, special);
  if (row.options & kCompose) parts.normalizer = {{"type", "NFC"}};
  parts.pre_tokenizer = byte_level_pre_tokenizer(row);
  parts.post_processor = post_processor(vocabulary, special, ids);
  parts.decoder = byte_level(true);
  parts.model = bpe_model(vocabulary_of(vocabulary.tokens), listed_merges(vocabulary, ids));
  parts.model["ignore_merges"] = (row.options & kWholeWordsFirst) != 0;
  return tokenizer_text(std::move(parts));
}

Json sentencepiece_normalizer(bool add_space_prefix) {
  Json steps = Json::array();
  if (add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back(replace_text(" ", kSpaceMark));
  return normalizers(std::move(steps));
}

std::string sentencepiece_tokenizer(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const bool from_scores = vocabulary.merges.empty();
  TokenizerParts parts;
  parts.added_tokens = added_tokens(vocabulary, special);
  parts.normalizer = sentencepiece_normalizer(vocabulary.add_space_prefix);
  parts.post_processor = post_processor(vocabulary, special, ids);
  parts.decoder = sentencepiece_decoder(true, vocabulary.add_space_prefix);
  parts.model = bpe_model(vocabulary_of(vocabulary.tokens),
                          from_scores ? merges_from_scores(vocabulary) : listed_merges(vocabulary, ids));
  if (!special.unk.empty()) parts.model["unk_token"] = special.unk;
  parts.model["fuse_unk"] = true;
  parts.model["byte_fallback"] =
      std::find(vocabulary.types.begin(), vocabulary.types.end(), kByte) != vocabulary.types.end();
  return tokenizer_text(std::move(parts));
}

Json tokenizer_config_of(const SpecialTokens& special) {
  const auto token = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  return {{"tokenizer_class", "PreTrainedTokenizerFast"},
          {"bos_token", token(special.bos)},
          {"eos_token", token(special.eos)},
          {"unk_token", token(special.unk)},
          {"pad_token", token(special.pad)},
          {"clean_up_tokenization_spaces", false}};
}

}  // namespace

std::vector<std::string> known_pre_tokenizers() {
  std::vector<std::string> names;
  for (const PreTokenizer& row : pre_tokenizer_rows()) names.insert(names.end(), row.names.begin(), row.names.end());
  return names;
}

TextAssets assets_from_gguf(const GgufVocabulary& vocabulary) {
  if (vocabulary.model != "gpt2" && vocabulary.model != "llama") {
    fail(Code::kModel, "unsupported tokenizer model '{}' in the GGUF vocabulary: known are gpt2, llama",
         vocabulary.model);
  }
  const Ids ids = index_tokens(vocabulary);
  TextAssets assets;
  assets.special = special_of(vocabulary);
  assets.tokenizer_json = vocabulary.model == "gpt2" ? byte_level_tokenizer(vocabulary, assets.special, ids)
                                                     : sentencepiece_tokenizer(vocabulary, assets.special, ids);
  assets.chat_template = vocabulary.chat_template;
  assets.template_origin = assets.chat_template.empty() ? "" : "tokenizer.chat_template of the GGUF file";
  assets.stop_tokens = stop_tokens_of(assets.chat_template, assets.special.eos);
  for (const auto& [id, what] :
       {std::pair(vocabulary.eot_id, "end-of-turn"), std::pair(vocabulary.eom_id, "end-of-message")}) {
    const std::string token = token_at(vocabulary, id, what);
    const auto& known = assets.stop_tokens;
    if (!token.empty() && std::find(known.begin(), known.end(), token) == known.end())
      assets.stop_tokens.push_back(token);
  }
  assets.tokenizer_config = tokenizer_config_of(assets.special);
  return assets;
}

}  // namespace suture::text
