// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_parts.h"

namespace suture::text {
namespace {

Json sequence(const char* member, Json steps) { return {{"type", "Sequence"}, {member, std::move(steps)}}; }

Json special_step(const std::string& token, int type_id) {
  return {{"SpecialToken", {{"id", token}, {"type_id", type_id}}}};
}

}  // namespace

std::string tokenizer_text(TokenizerParts parts) {
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", std::move(parts.added_tokens)},
                          {"normalizer", std::move(parts.normalizer)},
                          {"pre_tokenizer", std::move(parts.pre_tokenizer)},
                          {"post_processor", std::move(parts.post_processor)},
                          {"decoder", std::move(parts.decoder)},
                          {"model", std::move(parts.model)}};
  return tokenizer.dump(1);
}

Json added_token(const AddedToken& token, int64_t id) {
  return {{"id", id},
          {"content", token.content},
          {"single_word", token.single_word},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"normalized", token.normalized},
          {"special", token.special}};
}

Json byte_level(bool use_regex, bool add_prefix_space) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json split_by_regex(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json replace_text(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Json replace_regex(const std::string& from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"Regex", from}}}, {"content", to}};
}

Json metaspace(const char* prepend_scheme) {
  return {{"type", "Metaspace"}, {"replacement", kSpaceMark}, {"prepend_scheme", prepend_scheme}, {"split", false}};
}

Json normalizers(Json steps) { return sequence("normalizers", std::move(steps)); }
Json pre_tokenizers(Json steps) { return sequence("pretokenizers", std::move(steps)); }
Json decoders(Json steps) { return sequence("decoders", std::move(steps)); }

Json strip_one_space() { return {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}; }

Json sentencepiece_decoder(bool byte_fallback, bool strip_first_space) {
  Json steps = Json::array();
  steps.push_back(replace_text(kSpaceMark, " "));
  if (byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  // Strip works on each token: joined first, it strips the start of the text only.
  if (byte_fallback || strip_first_space) steps.push_back({{"type", "Fuse"}});
  if (strip_first_space) steps.push_back(strip_one_space());
  return decoders(std::move(steps));
}

Json vocabulary_of(const std::vector<std::string>& tokens) {
  // Filling the underlying vector avoids a linear search per key.
  Json::object_t object;
  object.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) object.Container::emplace_back(tokens[id], id);
  return Json(std::move(object));
}

Json bpe_model(Json vocabulary, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

Json unigram_model(const std::vector<std::pair<std::string, float>>& pieces, int64_t unknown_id, bool byte_fallback) {
  Json vocabulary = Json::array();
  for (const auto& [piece, score] : pieces) vocabulary.push_back(Json::array({piece, double{score}}));
  return {{"type", "Unigram"}, {"unk_id", unknown_id}, {"vocab", vocabulary}, {"byte_fallback", byte_fallback}};
}

Json template_processor(const NamedId& bos, const NamedId& eos) {
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  const auto append = [&](Json& list, const char* name, int type_id) {
    if (bos) list.push_back(special_step(bos->first, type_id));
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    if (eos) list.push_back(special_step(eos->first, type_id));
  };
  append(single, "A", 0);
  append(pair, "A", 0);
  append(pair, "B", 1);
  for (const NamedId& token : {bos, eos}) {
    if (!token) continue;
    tokens[token->first] = {
        {"id", token->first}, {"ids", Json::array({token->second})}, {"tokens", Json::array({token->first})}};
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

}  // namespace suture::text
