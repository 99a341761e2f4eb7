// SPDX-License-Identifier: Apache-2.0
// Rebuilds a tokenizer.json from the vocabulary of a GGUF file. Which pre-tokenizer a `pre` name stands for follows the
// tokenizer.json of the models that carry it.
#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "text/assets.h"
#include "text/utf8.h"

namespace suture::text {

namespace {

constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's mark for a space

constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreTokenizer {
  const char* name;
  const char* split;       // null: the split of GPT-2, built into the byte-level step
  bool separate_digits;    // every digit a word of its own
  bool compose;            // NFC first
  bool whole_words_first;  // a word that is a token is never assembled from merges
};

constexpr std::array kPreTokenizers = {
    PreTokenizer{"default", nullptr, false, false, false},
    PreTokenizer{"gpt-2", nullptr, false, false, false},
    PreTokenizer{"smollm", nullptr, true, false, false},
    PreTokenizer{"llama-bpe", kLlama3Split, false, false, true},
    PreTokenizer{"llama3", kLlama3Split, false, false, true},
    PreTokenizer{"qwen2", kQwen2Split, false, true, false},
    PreTokenizer{"deepseek-r1-qwen", kQwen2Split, false, true, false},
};

const PreTokenizer& pre_tokenizer_named(const std::string& name) {
  const std::string wanted = name.empty() ? "default" : name;
  for (const PreTokenizer& entry : kPreTokenizers) {
    if (wanted == entry.name) return entry;
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
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_special}});
  }
  return added;
}

Json vocabulary_object(const GgufVocabulary& vocabulary) {
  // Keys are known to be distinct; filling the underlying vector avoids a linear search per key.
  Json::object_t object;
  object.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) object.Container::emplace_back(vocabulary.tokens[id], id);
  return Json(std::move(object));
}

Json template_processor(const SpecialTokens& special, const Ids& ids, bool add_bos, bool add_eos) {
  const auto token = [](const std::string& text, int sequence) {
    return Json{{"SpecialToken", {{"id", text}, {"type_id", sequence}}}};
  };
  const auto append = [&](Json& list, const char* name, int sequence) {
    if (add_bos) list.push_back(token(special.bos, sequence));
    list.push_back({{"Sequence", {{"id", name}, {"type_id", sequence}}}});
    if (add_eos) list.push_back(token(special.eos, sequence));
  };
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  append(single, "A", 0);
  append(pair, "A", 0);
  append(pair, "B", 1);
  for (const auto& [used, text] : {std::pair(add_bos, special.bos), std::pair(add_eos, special.eos)}) {
    if (used) tokens[text] = {{"id", text}, {"ids", Json::array({ids.at(text)})}, {"tokens", Json::array({text})}};
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

Json post_processor(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const bool add_bos = vocabulary.add_bos.value_or(vocabulary.model == "llama" && !special.bos.empty());
  const bool add_eos = vocabulary.add_eos.value_or(false);
  if (add_bos && special.bos.empty()) fail(Code::kFile, "the GGUF vocabulary adds BOS but names no BOS token");
  if (add_eos && special.eos.empty()) fail(Code::kFile, "the GGUF vocabulary adds EOS but names no EOS token");
  if (!add_bos && !add_eos) return nullptr;
  return template_processor(special, ids, add_bos, add_eos);
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json byte_level_pre_tokenizer(const PreTokenizer& entry) {
  if (entry.split == nullptr && !entry.separate_digits) return byte_level(true);
  Json steps = Json::array();
  if (entry.separate_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (entry.split != nullptr) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", entry.split}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(byte_level(entry.split == nullptr));
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
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

Json bpe_model(const GgufVocabulary& vocabulary, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", vocabulary_object(vocabulary)},
          {"merges", std::move(merges)}};
}

Json byte_level_tokenizer(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const PreTokenizer& entry = pre_tokenizer_named(vocabulary.pre);
  Json model = bpe_model(vocabulary, listed_merges(vocabulary, ids));
  model["ignore_merges"] = entry.whole_words_first;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(vocabulary, special)},
          {"normalizer", entry.compose ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", byte_level_pre_tokenizer(entry)},
          {"post_processor", post_processor(vocabulary, special, ids)},
          {"decoder", byte_level(true)},
          {"model", std::move(model)}};
}

Json sentencepiece_normalizer(bool add_space_prefix) {
  Json steps = Json::array();
  if (add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json sentencepiece_decoder(bool add_space_prefix) {
  Json steps = Json::array();
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}});
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (add_space_prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

Json sentencepiece_tokenizer(const GgufVocabulary& vocabulary, const SpecialTokens& special, const Ids& ids) {
  const bool from_scores = vocabulary.merges.empty();
  Json model = bpe_model(vocabulary, from_scores ? merges_from_scores(vocabulary) : listed_merges(vocabulary, ids));
  if (!special.unk.empty()) model["unk_token"] = special.unk;
  model["fuse_unk"] = true;
  model["byte_fallback"] = std::find(vocabulary.types.begin(), vocabulary.types.end(), kByte) != vocabulary.types.end();
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(vocabulary, special)},
          {"normalizer", sentencepiece_normalizer(vocabulary.add_space_prefix)},
          {"pre_tokenizer", nullptr},
          {"post_processor", post_processor(vocabulary, special, ids)},
          {"decoder", sentencepiece_decoder(vocabulary.add_space_prefix)},
          {"model", std::move(model)}};
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
  for (const PreTokenizer& entry : kPreTokenizers) names.emplace_back(entry.name);
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
  const Json tokenizer = vocabulary.model == "gpt2" ? byte_level_tokenizer(vocabulary, assets.special, ids)
                                                    : sentencepiece_tokenizer(vocabulary, assets.special, ids);
  assets.tokenizer_json = tokenizer.dump(1);
  assets.chat_template = vocabulary.chat_template;
  assets.template_origin = assets.chat_template.empty() ? "" : "tokenizer.chat_template of the GGUF file";
  assets.stop_tokens = stop_tokens_of(assets.chat_template, assets.special.eos);
  assets.tokenizer_config = tokenizer_config_of(assets.special);
  return assets;
}

}  // namespace suture::text
