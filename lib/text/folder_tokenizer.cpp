// SPDX-License-Identifier: Apache-2.0
#include "text/folder_tokenizer.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace suture::text {
namespace {

constexpr std::array<const char*, 7> kNamedKeys = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                   "pad_token", "cls_token", "mask_token"};

// Named tokens by key, a spelling each; what a class has where the configuration is silent.
using Named = std::map<std::string, std::string>;

struct Source {
  fs::path folder;
  Json config;  // tokenizer_config.json
  Json map;     // special_tokens_map.json
  Json added;   // added_tokens.json
  Json model;   // config.json
};

std::string text_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool flag(const Json& object, const char* key, bool otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

// ---- which class of tokenizer ---------------------------------------------------------------------------------------

constexpr const char* kGeneric = "TokenizersBackend";

// What transformers registers for a model type, where it matters for folders without tokenizer.json.
std::string class_of_model(const std::string& type) {
  constexpr std::array<std::pair<const char*, const char*>, 18> kClasses = {{
      {"gpt2", "GPT2Tokenizer"},
      {"gptj", "GPT2Tokenizer"},
      {"gpt_neo", "GPT2Tokenizer"},
      {"opt", "GPT2Tokenizer"},
      {"phi", "GPT2Tokenizer"},
      {"starcoder2", "GPT2Tokenizer"},
      {"dbrx", "GPT2Tokenizer"},
      {"gpt_neox", "GPTNeoXTokenizer"},
      {"olmo", "GPTNeoXTokenizer"},
      {"olmoe", "GPTNeoXTokenizer"},
      {"mpt", "GPTNeoXTokenizer"},
      {"qwen2", "Qwen2Tokenizer"},
      {"qwen2_moe", "Qwen2Tokenizer"},
      {"qwen3", "Qwen2Tokenizer"},
      {"qwen3_moe", "Qwen2Tokenizer"},
      {"gemma", "GemmaTokenizer"},
      {"gemma2", "GemmaTokenizer"},
      {"gemma3_text", "GemmaTokenizer"},
  }};
  constexpr std::array kGenericTypes = {"mistral",   "mixtral", "ministral", "ministral3", "mistral3", "phi3",
                                        "phimoe",    "olmo2",   "olmo3",     "stablelm",   "granite",  "granitemoe",
                                        "internlm2", "glm",     "glm4",      "persimmon",  "minicpm3", "gpt_bigcode"};
  for (const auto& [name, tokenizer] : kClasses) {
    if (type == name) return tokenizer;
  }
  if (type == "gemma3") return "GemmaTokenizer";
  for (const char* name : kGenericTypes) {
    if (type == name) return kGeneric;
  }
  return "";
}

std::string class_of(const Source& source) {
  std::string stated = text_member(source.config, "tokenizer_class");
  if (stated.empty()) stated = text_member(source.model, "tokenizer_class");
  if (stated == "PreTrainedTokenizerFast" || stated == "PreTrainedTokenizer") stated = kGeneric;
  if (stated.ends_with("Fast")) stated.resize(stated.size() - 4);
  const std::string type = text_member(source.model, "model_type");
  const std::string registered = class_of_model(type);
  if (stated.empty()) return registered.empty() ? kGeneric : registered;
  if (registered == kGeneric || type == "qwen2") return registered;
  return stated;
}

// ---- tokens beside the vocabulary -----------------------------------------------------------------------------------

AddedToken token_of(const Json& value, bool special, const std::string& origin) {
  AddedToken token;
  token.special = special;
  if (value.is_string()) {
    token.content = value.get<std::string>();
    return token;
  }
  token.content = value.is_object() ? text_member(value, "content") : "";
  if (token.content.empty()) fail(Code::kFile, "cannot read {}: an added token has no content", origin);
  token.special = flag(value, "special", special);
  token.single_word = flag(value, "single_word", false);
  token.lstrip = flag(value, "lstrip", false);
  token.rstrip = flag(value, "rstrip", false);
  token.normalized = flag(value, "normalized", !token.special);
  return token;
}

// Tokens to add, in the order in which those outside the vocabulary get their ids.
class AddedTokens {
 public:
  AddedTokens(const Source& source, const Named& defaults) : source_(source), defaults_(defaults) {
    read_numbered();
    read_named();
  }

  // Attributes of tokens already listed win; a named token stays special.
  void append(const AddedToken& token) {
    if (token.content.empty() || !listed_.insert(token.content).second) return;
    tokens_.push_back(token);
  }

  // Whether there were any.
  bool append_extras() {
    const bool use_map = !source_.config.contains("added_tokens_decoder");
    for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
      const Json* list = nullptr;
      if (source_.config.contains(key)) list = &source_.config[key];
      if (use_map && source_.map.contains(key)) list = &source_.map[key];
      if (list == nullptr || list->is_null() || list->empty()) continue;
      for (const auto& [name, value] : list->items()) append(token_of(value, true, "tokenizer_config.json"));
      return true;
    }
    return false;
  }

  const Named& named() const { return named_; }
  std::string name_of(int64_t id) const {
    const auto found = numbered_.find(id);
    return found == numbered_.end() ? "" : found->second;
  }

  // The list for tokenizer.json. Tokens of the vocabulary keep their ids, the others follow it.
  Json listed(const std::vector<std::string>& vocabulary, std::unordered_map<std::string, int64_t>& ids) const {
    for (size_t id = 0; id < vocabulary.size(); ++id) ids.emplace(vocabulary[id], static_cast<int64_t>(id));
    std::map<int64_t, Json> by_id;
    auto next = static_cast<int64_t>(vocabulary.size());
    for (const AddedToken& token : tokens_) {
      const auto [place, fresh] = ids.emplace(token.content, next);
      if (fresh) ++next;
      by_id.emplace(place->second, added_token(token, place->second));
    }
    for (const auto& [id, content] : numbered_) {
      if (ids.at(content) == id) continue;
      fail(Code::kFile, "cannot add token '{}' of {} as id {}: the vocabulary leads to id {}", content,
           source_.folder.string(), id, ids.at(content));
    }
    Json list = Json::array();
    for (auto& [id, token] : by_id) list.push_back(std::move(token));
    return list;
  }

 private:
  // added_tokens_decoder of tokenizer_config.json, or the older added_tokens.json.
  void read_numbered() {
    std::map<int64_t, AddedToken> tokens;
    const std::string origin = (source_.folder / "tokenizer_config.json").string();
    if (source_.config.contains("added_tokens_decoder")) {
      for (const auto& [id, value] : source_.config["added_tokens_decoder"].items()) {
        if (id.empty() || id.size() > 9 ||
            !std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; }))
          fail(Code::kFile, "cannot read {}: added token id '{}' is no number", origin, id);
        tokens.emplace(std::stoll(id), token_of(value, false, origin));
      }
    } else {
      const std::set<std::string> specials = special_spellings();
      for (const auto& [content, id] : source_.added.items()) {
        if (!id.is_number_integer())
          fail(Code::kFile, "cannot read {}: token '{}' has no id", (source_.folder / "added_tokens.json").string(),
               content);
        const bool special = specials.contains(content);
        tokens.emplace(id.get<int64_t>(), AddedToken{.content = content, .normalized = !special, .special = special});
      }
    }
    for (auto& [id, token] : tokens) {
      numbered_.emplace(id, token.content);
      append(token);
    }
  }

  std::set<std::string> special_spellings() const {
    std::set<std::string> spellings;
    for (const char* key : kNamedKeys) {
      const Json value = named_value(key);
      if (!value.is_null()) spellings.insert(token_of(value, true, key).content);
    }
    for (const Json* file : {&source_.config, &source_.map}) {
      for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
        if (!file->contains(key)) continue;
        for (const auto& [name, value] : (*file)[key].items()) spellings.insert(token_of(value, true, key).content);
      }
    }
    return spellings;
  }

  // What the files say about a named token; null: nothing, or that there is none.
  Json named_value(const char* key) const {
    const bool use_map = !source_.config.contains("added_tokens_decoder");
    if (use_map && source_.map.contains(key)) return source_.map[key];
    if (source_.config.contains(key)) return source_.config[key];
    const auto found = defaults_.find(key);
    return found == defaults_.end() ? Json() : Json(found->second);
  }

  void read_named() {
    for (const char* key : kNamedKeys) {
      const Json value = named_value(key);
      if (value.is_null() || value == "") continue;
      AddedToken token = token_of(value, true, key);
      token.special = true;
      named_[key] = token.content;
      for (AddedToken& listed : tokens_) {
        if (listed.content == token.content) listed.special = true;
      }
      append(token);
    }
  }

  const Source& source_;
  const Named& defaults_;
  std::vector<AddedToken> tokens_;
  std::set<std::string> listed_;
  std::map<int64_t, std::string> numbered_;
  Named named_;
};

Json bos_and_eos(const Source& source, const Named& named, const std::unordered_map<std::string, int64_t>& ids) {
  const auto token = [&](const char* wanted, const char* key) -> NamedId {
    const auto found = named.find(key);
    if (!flag(source.config, wanted, false) || found == named.end()) return std::nullopt;
    return std::pair(found->second, ids.at(found->second));
  };
  return template_processor(token("add_bos_token", "bos_token"), token("add_eos_token", "eos_token"));
}

FolderTokenizer finish(const Source& source, const AddedTokens& added, const std::vector<std::string>& vocabulary,
                       TokenizerParts parts) {
  std::unordered_map<std::string, int64_t> ids;
  parts.added_tokens = added.listed(vocabulary, ids);
  parts.post_processor = bos_and_eos(source, added.named(), ids);
  const auto spelling = [&](const char* key) {
    const auto found = added.named().find(key);
    return found == added.named().end() ? "" : found->second;
  };
  return {tokenizer_text(std::move(parts)),
          {spelling("bos_token"), spelling("eos_token"), spelling("unk_token"), spelling("pad_token")}};
}

// ---- vocab.json and merges.txt --------------------------------------------------------------------------------------

std::vector<std::string> read_vocabulary(const fs::path& path) {
  const Json vocabulary = read_json(path, Code::kFile);
  std::vector<std::string> tokens(vocabulary.size());
  std::vector<bool> taken(vocabulary.size());
  if (!vocabulary.is_object()) fail(Code::kFile, "cannot read {}: want a JSON object", path.string());
  for (const auto& [token, id] : vocabulary.items()) {
    const int64_t at = id.is_number_integer() ? id.get<int64_t>() : -1;
    if (at < 0 || at >= static_cast<int64_t>(tokens.size()) || taken[static_cast<size_t>(at)]) {
      fail(Code::kFile, "cannot read {}: token '{}' has id {}, want ids 0..{} once each", path.string(), token,
           id.dump(), static_cast<int64_t>(tokens.size()) - 1);
    }
    taken[static_cast<size_t>(at)] = true;
    tokens[static_cast<size_t>(at)] = token;
  }
  return tokens;
}

Json read_merges(const fs::path& path) {
  const std::string text = read_text(path, Code::kFile);
  if (const auto offset = first_invalid_byte(text)) {
    fail(Code::kFile, "cannot read {}: invalid UTF-8 at byte {}", path.string(), *offset);
  }
  Json merges = Json::array();
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    begin = end + 1;
    ++number;
    if (line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space == line.npos || space + 1 == line.size() || line.find(' ', space + 1) != line.npos) {
      fail(Code::kFile, "cannot read {}: line {} is no pair of tokens: '{}'", path.string(), number, line);
    }
    merges.push_back(Json::array({line.substr(0, space), line.substr(space + 1)}));
  }
  return merges;
}

FolderTokenizer from_vocabulary_and_merges(const Source& source, const std::string& tokenizer_class) {
  const bool qwen = tokenizer_class == "Qwen2Tokenizer", neox = tokenizer_class == "GPTNeoXTokenizer";
  // A folder that names no class gets the plain kind, which is what vocab.json and merges.txt were made for.
  if (!qwen && !neox && tokenizer_class != "GPT2Tokenizer" && tokenizer_class != kGeneric) {
    fail(Code::kModel, "cannot build {} from vocab.json and merges.txt in {}: save it with tokenizer.json",
         tokenizer_class, source.folder.string());
  }
  const std::string end = "<|endoftext|>";
  Named defaults = {{"unk_token", end}, {"eos_token", end}};
  if (qwen) defaults["pad_token"] = end;
  if (!qwen) defaults["bos_token"] = end;
  if (neox) defaults["pad_token"] = "<|padding|>";
  AddedTokens added(source, defaults);
  added.append_extras();

  const std::vector<std::string> vocabulary = read_vocabulary(source.folder / "vocab.json");
  const bool add_prefix_space = flag(source.config, "add_prefix_space", false);
  TokenizerParts parts;
  parts.model = bpe_model(vocabulary_of(vocabulary), read_merges(source.folder / "merges.txt"));
  parts.model["continuing_subword_prefix"] = parts.model["end_of_word_suffix"] = "";
  if (qwen || neox) parts.normalizer = {{"type", "NFC"}};
  parts.pre_tokenizer = byte_level(true, add_prefix_space);
  if (qwen) {
    parts.pre_tokenizer =
        pre_tokenizers(Json::array({split_by_regex(kQwen2Split), byte_level(false, add_prefix_space)}));
  }
  parts.decoder = byte_level(true, true);
  return finish(source, added, vocabulary, std::move(parts));
}

// ---- SentencePiece --------------------------------------------------------------------------------------------------

std::vector<std::string> spellings(const SentencePieceModel& model) {
  std::vector<std::string> tokens;
  for (const auto& piece : model.pieces) tokens.push_back(piece.text);
  return tokens;
}

// All ways to join two of `parts` to one of them, in the order in which `before` ranks the joined ids.
struct Merge {
  size_t joined;
  std::string_view left, right;
};

std::vector<Merge> merges_among(const std::vector<std::string>& tokens, const std::vector<bool>& usable) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (usable[id]) ids.emplace(tokens[id], id);
  }
  std::vector<Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    for (size_t cut = 1; usable[id] && cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      if (ids.contains(token.substr(0, cut)) && ids.contains(token.substr(cut))) {
        merges.push_back({id, token.substr(0, cut), token.substr(cut)});
      }
    }
  }
  return merges;
}

Json pairs_of(const std::vector<Merge>& merges) {
  Json pairs = Json::array();
  for (const Merge& merge : merges) pairs.push_back(Json::array({merge.left, merge.right}));
  return pairs;
}

// Llama and Gemma classes: merges in the order of the ids, every piece takes part.
Json class_model(const std::vector<std::string>& tokens) {
  Json model = bpe_model(vocabulary_of(tokens), pairs_of(merges_among(tokens, std::vector<bool>(tokens.size(), true))));
  model["fuse_unk"] = model["byte_fallback"] = true;
  return model;
}

// The model's own control pieces; with `user_defined` those too. Tokens that the configuration lists replace them.
void append_pieces(const SentencePieceModel& model, const std::vector<std::string>& tokens, bool user_defined,
                   AddedTokens& added) {
  if (added.append_extras()) return;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const int64_t type = model.pieces[id].type;
    const bool control = type == SentencePieceModel::kControl;
    if (control || (user_defined && type == SentencePieceModel::kUserDefined)) {
      added.append({.content = tokens[id], .special = control});
    }
  }
}

FolderTokenizer llama_tokenizer(const Source& source, const SentencePieceModel& model) {
  AddedTokens added(source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}});
  const std::vector<std::string> tokens = spellings(model);
  append_pieces(model, tokens, true, added);
  const bool prefix = flag(source.config, "add_prefix_space", true);
  const char* scheme = !prefix ? "never" : flag(source.config, "legacy", false) ? "always" : "first";
  TokenizerParts parts;
  parts.model = class_model(tokens);
  parts.pre_tokenizer = metaspace(scheme);
  parts.decoder = sentencepiece_decoder(true, prefix);
  return finish(source, added, tokens, std::move(parts));
}

FolderTokenizer gemma_tokenizer(const Source& source, const SentencePieceModel& model) {
  AddedTokens added(source, {{"bos_token", "<bos>"},
                             {"eos_token", "<eos>"},
                             {"unk_token", "<unk>"},
                             {"pad_token", "<pad>"},
                             {"mask_token", "<mask>"}});
  const std::vector<std::string> tokens = spellings(model);
  append_pieces(model, tokens, true, added);
  TokenizerParts parts;
  parts.model = class_model(tokens);
  if (added.named().contains("unk_token")) parts.model["unk_token"] = added.named().at("unk_token");
  parts.normalizer = replace_text(" ", kSpaceMark);
  parts.decoder = sentencepiece_decoder(true, false);
  return finish(source, added, tokens, std::move(parts));
}

// Pieces under the names that added_tokens_decoder gives their ids; a name that another piece keeps is not given twice.
std::vector<std::string> renamed(const SentencePieceModel& model, const AddedTokens& added) {
  std::vector<std::string> tokens = spellings(model);
  std::set<std::string> kept;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (added.name_of(static_cast<int64_t>(id)).empty()) kept.insert(tokens[id]);
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string name = added.name_of(static_cast<int64_t>(id));
    if (!name.empty() && !kept.contains(name)) tokens[id] = name;
  }
  return tokens;
}

std::string literal_regex(std::string_view text) {
  std::string regex;
  for (const char c : text) {
    if (std::string_view("()[]{}?*+-|^$\\.&~# \t\n\r\v\f").find(c) != std::string_view::npos) regex += '\\';
    regex += c;
  }
  return regex;
}

// User-defined pieces, longest first; empty: none.
std::string user_defined_regex(const SentencePieceModel& model, const std::vector<std::string>& tokens) {
  std::vector<std::string> pieces;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (model.pieces[id].type == SentencePieceModel::kUserDefined) pieces.push_back(tokens[id]);
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const std::string& a, const std::string& b) {
    return count_code_points(a) > count_code_points(b);
  });
  std::string regex;
  for (const std::string& piece : pieces) regex += (regex.empty() ? "" : "|") + literal_regex(piece);
  return regex;
}

// Merges in order of falling score, among normal pieces.
Json scored_model(const SentencePieceModel& model, const std::vector<std::string>& tokens) {
  std::vector<bool> usable;
  for (const auto& piece : model.pieces) usable.push_back(piece.type == SentencePieceModel::kNormal);
  std::vector<Merge> merges = merges_among(tokens, usable);
  std::sort(merges.begin(), merges.end(), [&](const Merge& a, const Merge& b) {
    const float score_a = model.pieces[a.joined].score, score_b = model.pieces[b.joined].score;
    return std::tie(score_b, a.joined, a.left) < std::tie(score_a, b.joined, b.left);
  });
  Json bpe = bpe_model(vocabulary_of(tokens), pairs_of(merges));
  bpe["unk_token"] = model.unk_piece;
  bpe["fuse_unk"] = true;
  bpe["byte_fallback"] = model.byte_fallback;
  return bpe;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) text += j <= bytes.size() - i ? kDigits[(group >> (18 - 6 * j)) & 63] : '=';
  }
  return text;
}

// SentencePiece's own order: replace characters, drop extra spaces, mark spaces.
Json spec_normalizer(const SentencePieceModel& model, bool legacy) {
  Json steps = Json::array();
  if (!model.charsmap.empty()) {
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", base64(model.charsmap)}});
  }
  if (model.remove_extra_whitespaces) {
    steps.push_back(replace_regex(R"(\A +| +\z)", ""));
    steps.push_back(replace_regex(" {2,}", " "));
  }
  if (model.escape_whitespaces) steps.push_back(replace_text(" ", kSpaceMark));
  // The pre-tokenizer leaves a text that starts with the mark alone, SentencePiece puts a second mark before it.
  if (model.add_dummy_prefix && legacy) {
    steps.push_back(
        replace_regex(R"(\A)" + std::string(kSpaceMark), std::string(kSpaceMark) + std::string(kSpaceMark)));
  }
  return normalizers(std::move(steps));
}

Json spec_pre_tokenizer(const SentencePieceModel& model, bool legacy, const std::string& user_defined) {
  Json steps = Json::array();
  if (model.add_dummy_prefix) steps.push_back(metaspace(legacy ? "always" : "first"));
  if (!user_defined.empty()) steps.push_back(split_by_regex(user_defined));
  return steps.empty() ? Json() : pre_tokenizers(std::move(steps));
}

// Follows the model file's own settings.
FolderTokenizer generic_tokenizer(const Source& original, const SentencePieceModel& model) {
  Source source = original;
  if (model.add_dummy_prefix && source.config.contains("added_tokens_decoder")) {
    // Found in the text as it is, so that what stands between two of them gets a dummy prefix of its own.
    for (auto& [id, token] : source.config["added_tokens_decoder"].items()) {
      if (token.is_object()) token["normalized"] = false;
    }
  }
  Named defaults = {{"unk_token", model.unk_piece}};
  if (model.bos_id >= 0) defaults["bos_token"] = model.bos_piece;
  if (model.eos_id >= 0) defaults["eos_token"] = model.eos_piece;
  AddedTokens added(source, defaults);
  const bool unigram = model.kind == SentencePieceModel::kUnigram;
  const std::vector<std::string> tokens = unigram ? spellings(model) : renamed(model, added);
  append_pieces(model, tokens, false, added);

  const bool legacy = flag(source.config, "legacy", true);
  const std::string user_defined = user_defined_regex(model, tokens);
  TokenizerParts parts;
  if (unigram) {
    std::vector<std::pair<std::string, float>> pieces;
    for (const auto& piece : model.pieces) pieces.emplace_back(piece.text, piece.score);
    parts.model = unigram_model(pieces, model.unk_id, model.byte_fallback);
  } else {
    parts.model = scored_model(model, tokens);
    parts.model["ignore_merges"] = !user_defined.empty();
  }
  parts.normalizer = spec_normalizer(model, legacy);
  parts.pre_tokenizer = spec_pre_tokenizer(model, legacy, user_defined);
  parts.decoder = sentencepiece_decoder(model.byte_fallback, model.add_dummy_prefix);
  return finish(source, added, tokens, std::move(parts));
}

// Lines of base64 and a rank: the vocabulary format of tiktoken, which some models also call tokenizer.model.
bool looks_like_tiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  const size_t space = line.find(' ');
  if (space == line.npos || space == 0 || line.size() > 200) return false;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto base64_digit = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/' || c == '=';
  };
  return std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), base64_digit) &&
         std::all_of(line.begin() + static_cast<std::ptrdiff_t>(space) + 1, line.end(), digit);
}

FolderTokenizer from_sentencepiece(const Source& source, const std::string& tokenizer_class) {
  const fs::path path = source.folder / "tokenizer.model";
  const std::string bytes = read_text(path, Code::kFile), origin = path.string();
  if (looks_like_tiktoken(bytes)) {
    fail(Code::kModel, "unsupported vocabulary {}: it is in tiktoken's format; save the tokenizer with tokenizer.json",
         origin);
  }
  const SentencePieceModel model = parse_sentencepiece(bytes, origin);
  if (model.kind != SentencePieceModel::kUnigram && model.kind != SentencePieceModel::kBpe) {
    fail(Code::kModel, "unsupported SentencePiece model {}: kind {}, want 1 (unigram) or 2 (BPE)", origin, model.kind);
  }
  if (model.space_is_suffix) {
    fail(Code::kModel, "unsupported SentencePiece model {}: it marks spaces at the end of words", origin);
  }
  if (tokenizer_class == "LlamaTokenizer") return llama_tokenizer(source, model);
  if (tokenizer_class == "GemmaTokenizer") return gemma_tokenizer(source, model);
  for (const char* other : {"T5", "Albert", "XLMRoberta", "XLNet", "MBart", "Camembert", "Pegasus", "CodeLlama", "Nllb",
                            "DebertaV2", "BigBird", "Reformer", "Barthez", "XGLM", "Seamless", "Marian"}) {
    if (!tokenizer_class.starts_with(other)) continue;
    fail(Code::kModel, "cannot build {} from tokenizer.model in {}: save it with tokenizer.json", tokenizer_class,
         source.folder.string());
  }
  return generic_tokenizer(source, model);
}

}  // namespace

FolderTokenizer build_folder_tokenizer(const fs::path& folder, const Json& tokenizer_config,
                                       const Json& special_tokens_map, const Json& model_config) {
  Source source{folder, tokenizer_config, special_tokens_map, Json::object(), model_config};
  const fs::path added = folder / "added_tokens.json";
  if (fs::exists(added)) {
    source.added = read_json(added, Code::kFile);
    if (!source.added.is_object()) fail(Code::kFile, "cannot read {}: want a JSON object", added.string());
  }
  const std::string tokenizer_class = class_of(source);
  if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt")) {
    return from_vocabulary_and_merges(source, tokenizer_class);
  }
  if (fs::exists(folder / "tokenizer.model")) return from_sentencepiece(source, tokenizer_class);
  for (const char* other : {"tekken.json", "tiktoken.model", "spiece.model", "vocab.txt", "qwen.tiktoken"}) {
    if (!fs::exists(folder / other)) continue;
    fail(Code::kModel, "unsupported vocabulary {}: save the tokenizer with tokenizer.json", (folder / other).string());
  }
  return {};
}

}  // namespace suture::text
