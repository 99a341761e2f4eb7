// SPDX-License-Identifier: Apache-2.0
// A GGUF file seen as an HF folder: config.json from its metadata, HF tensor names and layouts, tokenizer and template.
#include <unordered_map>

#include "io/gguf.h"
#include "model/source.h"

namespace suture::model {
namespace {

text::GgufVocabulary read_vocabulary(const io::GgufFile& file) {
  text::GgufVocabulary v;
  const std::string at = "tokenizer.ggml.";
  v.model = file.text_or(at + "model", "");
  v.pre = file.text_or(at + "pre", "");
  v.tokens = file.texts_or(at + "tokens", {});
  v.scores = file.numbers_or(at + "scores", {});
  for (const int64_t type : file.integers_or(at + "token_type", {})) v.types.push_back(int32_t(type));
  v.merges = file.texts_or(at + "merges", {});
  v.bos_id = file.integer_or(at + "bos_token_id", -1);
  v.eos_id = file.integer_or(at + "eos_token_id", -1);
  v.eot_id = file.integer_or(at + "eot_token_id", -1);
  v.eom_id = file.integer_or(at + "eom_token_id", -1);
  v.unk_id = file.integer_or(at + "unknown_token_id", -1);
  v.pad_id = file.integer_or(at + "padding_token_id", -1);
  if (file.has(at + "add_bos_token")) v.add_bos = file.flag(at + "add_bos_token");
  if (file.has(at + "add_eos_token")) v.add_eos = file.flag(at + "add_eos_token");
  v.add_space_prefix = file.flag_or(at + "add_space_prefix", true);
  v.chat_template = file.text_or("tokenizer.chat_template", "");
  return v;
}

// llama.cpp stores each head's rows as (pair, half); HF as (half, pair).
at::Tensor undo_rope_permutation(const at::Tensor& w, int64_t heads) {
  std::vector<int64_t> split = {heads, w.size(0) / heads / 2, 2};
  if (w.dim() == 2) split.push_back(w.size(1));
  return w.reshape(split).transpose(1, 2).reshape(w.sizes());
}

class GgufSource : public Source {
 public:
  explicit GgufSource(const fs::path& path) : file_(io::GgufFile::open(path)), family_(find_family()) {
    prefix_ = file_->text("general.architecture") + ".";
    if (file_->find("rope_freqs.weight") != nullptr)
      fail(Code::kModel,
           "cannot load {}: tensor 'rope_freqs.weight' (scaled rotary positions) is not supported in GGUF; use the HF "
           "folder",
           path.string());
    config_ = make_config();
    heads_ = config_.at(std::string(family_->keys.heads.hf)).get<int64_t>();
    name_tensors();
  }

  Json config_json() const override { return config_; }
  text::TextAssets text() const override {
    const text::GgufVocabulary vocabulary = read_vocabulary(*file_);
    if (vocabulary.tokens.empty()) return {};
    return text::assets_from_gguf(vocabulary);
  }
  std::vector<int32_t> stop_ids() const override { return token_ids(config_, "eos_token_id"); }
  std::vector<std::string> names() const override { return names_; }
  bool has(const std::string& name) const override { return places_.contains(name); }
  at::Tensor tensor(const std::string& name) const override {
    const Place& place = places_.at(name);
    const at::Tensor stored = file_->tensor(place.gguf);
    if (place.rule == nullptr) return stored;
    if (place.rule->rope_permuted_in_gguf) return undo_rope_permutation(stored, rope_heads(*place.rule));
    return place.rule->layout == Layout::kInOut && stored.dim() == 2 ? stored.t().contiguous() : stored;
  }
  std::string dtype(const std::string& name) const override { return file_->info(places_.at(name).gguf).type; }
  std::vector<int64_t> shape(const std::string& name) const override {
    const Place& place = places_.at(name);
    std::vector<int64_t> shape = file_->info(place.gguf).shape;
    if (place.rule != nullptr && place.rule->layout == Layout::kInOut && shape.size() == 2)
      std::swap(shape[0], shape[1]);
    return shape;
  }
  uint64_t bytes() const override {
    uint64_t total = 0;
    for (const auto& info : file_->tensors()) total += info.end - info.begin;
    return total;
  }
  std::vector<fs::path> weight_files() const override { return file_->paths(); }
  void forget_pages() const override { file_->forget_pages(); }
  std::map<std::string, std::string> text_files() const override {
    std::map<std::string, std::string> files = text::to_files(text());
    files["config.json"] = to_text(config_);
    Json generation = {{"_from_model_config", true}};
    for (const std::string key : {"bos_token_id", "eos_token_id", "pad_token_id"})
      if (config_.contains(key)) generation[key] = config_[key];
    files["generation_config.json"] = to_text(generation);
    return files;
  }

 private:
  struct Place {
    std::string gguf;
    const TensorRule* rule;
  };

  const FamilySpec* find_family() const {
    const std::string architecture = file_->text("general.architecture");
    const FamilySpec* family = family_for_gguf(architecture);
    if (family == nullptr)
      fail(Code::kModel, "cannot load {}: GGUF architecture '{}' is not supported; supported model types are {}",
           file_->path().string(), architecture, family_types());
    return family;
  }

  int64_t rope_heads(const TensorRule& rule) const {
    const bool query = rule.part == Part::kQ || rule.part == Part::kQBias;
    const std::string key(family_->keys.kv_heads.hf);
    return query || !config_.contains(key) ? heads_ : config_[key].get<int64_t>();
  }

  void put_integer(Json& json, const ConfigKey& key) const {
    if (!key.hf.empty() && !key.gguf.empty() && file_->has(prefix_ + std::string(key.gguf)))
      json[std::string(key.hf)] = file_->integer(prefix_ + std::string(key.gguf));
  }

  Json make_config() const {
    Json json = {{"architectures", {std::string(family_->class_name)}},
                 {"model_type", std::string(family_->model_types[0])}};
    const ConfigKeys& keys = family_->keys;
    for (const ConfigKey* key :
         {&keys.layers, &keys.width, &keys.heads, &keys.kv_heads, &keys.head_dim, &keys.hidden, &keys.context})
      put_integer(json, *key);
    if (file_->has(prefix_ + std::string(keys.eps.gguf)))
      json[std::string(keys.eps.hf)] = file_->number(prefix_ + std::string(keys.eps.gguf));
    json[std::string(family_->activation_key)] = std::string(family_->default_activation);
    const io::GgufFile::Info* embed = file_->find(std::string(rule_of(*family_, Part::kEmbed)->gguf));
    if (embed == nullptr)
      fail(Code::kFile, "cannot load {}: tensor 'token_embd.weight' is missing", file_->path().string());
    json["vocab_size"] = embed->shape[0];
    json["tie_word_embeddings"] = file_->find("output.weight") == nullptr;
    if (family_->traits.position == Position::kRope) put_rope(json);
    for (const auto& [flag, part] :
         {std::pair{family_->attention_bias_flag, Part::kOBias}, std::pair{family_->mlp_bias_flag, Part::kDownBias}})
      if (const TensorRule* rule = rule_of(*family_, part); !flag.empty() && flag != "none" && rule != nullptr)
        json[std::string(flag)] = file_->find(with_layer(rule->gguf, 0)) != nullptr;
    for (const auto& [hf, gguf] : {std::pair{"bos_token_id", "bos_token_id"}, std::pair{"eos_token_id", "eos_token_id"},
                                   std::pair{"pad_token_id", "padding_token_id"}})
      if (const std::string key = std::string("tokenizer.ggml.") + gguf; file_->has(key))
        json[hf] = file_->integer(key);
    json["dtype"] = "float32";
    return json;
  }

  void put_rope(Json& json) const {
    json["rope_theta"] = file_->number_or(prefix_ + "rope.freq_base", 10000);
    const std::string kind = file_->text_or(prefix_ + "rope.scaling.type", "none");
    if (kind == "none") return;
    if (kind != "linear")
      fail(Code::kModel, "cannot load {}: rope scaling '{}' in GGUF is not supported", file_->path().string(), kind);
    json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", file_->number(prefix_ + "rope.scaling.factor")}};
  }

  void name_tensors() {
    std::unordered_map<std::string, std::pair<std::string, const TensorRule*>> hf_names;
    const int64_t layers = config_.at(std::string(family_->keys.layers.hf)).get<int64_t>();
    for (const TensorRule& rule : family_->rules)
      for (int64_t layer = 0; layer < (per_layer(rule.part) ? layers : 1); ++layer)
        hf_names.try_emplace(with_layer(rule.gguf, layer), with_layer(rule.name, layer), &rule);
    for (const auto& info : file_->tensors()) {
      const auto known = hf_names.find(info.name);
      const std::string name = known == hf_names.end() ? info.name : known->second.first;
      names_.push_back(name);
      places_[name] = {info.name, known == hf_names.end() ? nullptr : known->second.second};
    }
  }

  std::shared_ptr<const io::GgufFile> file_;
  const FamilySpec* family_;
  std::string prefix_;
  Json config_;
  int64_t heads_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace

std::unique_ptr<Source> open_gguf_source(const fs::path& file) { return std::make_unique<GgufSource>(file); }

}  // namespace suture::model
