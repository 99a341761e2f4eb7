// SPDX-License-Identifier: Apache-2.0
#include "model/checkpoint.h"

#include <set>
#include <unordered_map>

#include "core/digest.h"
#include "io/tensor_folder.h"
#include "model/source.h"
#include "tensor/dtype.h"

namespace suture::model {

struct Checkpoint::Impl {
  fs::path path;
  std::unique_ptr<Source> source;
  Json json;
  ModelConfig config;
  text::TextAssets text;
  std::map<WeightId, std::pair<std::string, const TensorRule*>> weights;
  mutable std::string digest;

  void place_weights();
  std::string place(const TensorRule& rule, std::string name, WeightId id);
};

namespace {

// Shape of a logical weight.
std::vector<int64_t> expected_shape(Part part, const ModelConfig& c) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const bool whole = c.traits.qk_norm == QkNorm::kWhole;
  switch (part) {
    case Part::kEmbed:
    case Part::kHead:
      return {c.vocab, c.width};
    case Part::kHeadBias:
      return {c.vocab};
    case Part::kPositions:
      return {c.context + c.traits.position_offset, c.width};
    case Part::kQ:
      return {q, c.width};
    case Part::kK:
    case Part::kV:
      return {kv, c.width};
    case Part::kO:
      return {c.width, q};
    case Part::kQBias:
      return {q};
    case Part::kKBias:
    case Part::kVBias:
      return {kv};
    case Part::kQNorm:
      return {whole ? q : c.head_dim};
    case Part::kKNorm:
      return {whole ? kv : c.head_dim};
    case Part::kSinks:
      return {c.heads};
    case Part::kGate:
    case Part::kUp:
      return {c.hidden, c.width};
    case Part::kGateBias:
    case Part::kUpBias:
      return {c.hidden};
    case Part::kDown:
      return {c.width, c.hidden};
    case Part::kRouter:
      return {c.experts, c.width};
    case Part::kRouterBias:
      return {c.experts};
    case Part::kSharedGate:
    case Part::kSharedUp:
      return {c.shared_hidden, c.width};
    case Part::kSharedDown:
      return {c.width, c.shared_hidden};
    case Part::kSharedRouter:
      return {1, c.width};
    case Part::kExpertGate:
    case Part::kExpertUp:
      return {c.expert_hidden, c.width};
    case Part::kExpertGateBias:
    case Part::kExpertUpBias:
      return {c.expert_hidden};
    case Part::kExpertDown:
      return {c.width, c.expert_hidden};
    default:
      return {c.width};
  }
}

// Shape that the file's tensor must have for the logical weight to fit.
std::vector<int64_t> file_shape(const TensorRule& rule, const ModelConfig& config) {
  std::vector<int64_t> shape = expected_shape(rule.part, config);
  if (rule.slice == Slice::kGate || rule.slice == Slice::kUp)
    shape[0] *= 2;
  else if (rule.slice != Slice::kWhole)
    shape[0] = (config.heads + 2 * config.kv_heads) * config.head_dim;
  if (rule.layout == Layout::kInOut && shape.size() == 2) std::swap(shape[0], shape[1]);
  if (rule.expert_axis) shape.insert(shape.begin(), config.experts);
  return shape;
}

std::set<std::string> ignored_names(const ModelConfig& config) {
  std::set<std::string> names;
  for (const std::string_view pattern : config.family->ignored_tensors)
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const std::string name = with_layer(pattern, layer);
      names.insert(name);
    }
  return names;
}

bool starts_with_any(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// The ways in which files spell the table's names: as they are, without the base model's prefix, or as the language
// half of a model that also sees or hears.
enum class Spelling { kPlain, kBare, kLanguageModel, kInnerLanguageModel };

std::string spelled(std::string name, Spelling spelling, std::string_view prefix) {
  switch (spelling) {
    case Spelling::kPlain:
      return name;
    case Spelling::kBare:
      return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
    case Spelling::kLanguageModel:
      return "language_model." + name;
    case Spelling::kInnerLanguageModel:
      return name.starts_with("model.") ? "model.language_model." + name.substr(6) : name;
  }
  return name;
}

Spelling find_spelling(const Source& source, const FamilySpec& family) {
  const std::string embed = rule_of(family, Part::kEmbed)->name;
  for (const Spelling spelling :
       {Spelling::kPlain, Spelling::kBare, Spelling::kLanguageModel, Spelling::kInnerLanguageModel})
    if (source.has(spelled(embed, spelling, family.prefix))) return spelling;
  return Spelling::kPlain;
}

// Tensors that the language model does not read and that are kept as they are: the other half of a multimodal model,
// rotary tables, and draft heads (layers behind the last one, multi-token prediction).
bool stands_aside(const std::string& name, Spelling spelling, int64_t layers) {
  if (name.ends_with("rotary_emb.inv_freq") || starts_with_any(name, {"mtp.", "model.mtp."})) return true;
  const bool multimodal = spelling == Spelling::kLanguageModel || spelling == Spelling::kInnerLanguageModel;
  if (multimodal) return !starts_with_any(name, {"language_model.", "model.language_model.", "lm_head."});
  constexpr std::string_view kLayers = "model.layers.";
  return name.starts_with(kLayers) && std::atoll(name.c_str() + kLayers.size()) >= layers;
}

std::string shown(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

// Checks the tensor that holds a weight and remembers it.
std::string Checkpoint::Impl::place(const TensorRule& rule, std::string name, WeightId id) {
  if (!source->has(name)) fail(Code::kFile, "cannot load {}: tensor '{}' is missing", path.string(), name);
  if (const auto shape = source->shape(name); shape != file_shape(rule, config))
    fail(Code::kFile, "cannot load {}: tensor '{}' has shape {}, config.json asks for {}", path.string(), name,
         shown(shape), shown(file_shape(rule, config)));
  weights[id] = {name, &rule};
  return name;
}

// Finds every weight of the family in the file, and every tensor of the file in the family.
void Checkpoint::Impl::place_weights() {
  const std::vector<std::string> names = source->names();
  std::set<std::string> unused(names.begin(), names.end());
  const std::string_view prefix = config.family->prefix;
  const Spelling spelling = find_spelling(*source, *config.family);
  for (const TensorRule& rule : config.family->rules)
    for (int64_t layer = 0; layer < (per_layer(rule.part) ? config.layers : 1); ++layer) {
      if (!rule.needed(config, layer)) continue;
      for (int64_t expert = 0; expert < (per_expert(rule.part) ? config.experts : 1); ++expert)
        unused.erase(
            place(rule, spelled(with_layer(rule.name, layer, expert), spelling, prefix), {rule.part, layer, expert}));
    }
  for (const std::string& name : ignored_names(config)) unused.erase(spelled(name, spelling, prefix));
  if (const TensorRule* head = rule_of(*config.family, Part::kHead); config.tied && head != nullptr)
    unused.erase(spelled(head->name, spelling, prefix));
  std::erase_if(unused, [&](const std::string& name) { return stands_aside(name, spelling, config.layers); });
  if (!unused.empty())
    fail(Code::kModel, "cannot load {}: {} tensors of the file are not used by this model type, the first is '{}'",
         path.string(), unused.size(), *unused.begin());
}

std::vector<int32_t> token_ids(const Json& json, const std::string& key) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return {};
  if (it->is_number_integer()) return {it->get<int32_t>()};
  if (it->is_array()) return it->get<std::vector<int32_t>>();
  fail(Code::kModel, "cannot read '{}': must be a token id or a list of them, got {}", key, it->dump());
}

namespace {

constexpr std::string_view kExpert = "mlp.expert.", kExperts = "mlp.experts.";

}  // namespace

std::string WeightId::text() const {
  std::string part_name(name(part));
  if (per_expert(part)) part_name.replace(0, kExpert.size(), fmt::format("{}{}.", kExperts, expert));
  return per_layer(part) ? fmt::format("layers.{}.{}", layer, part_name) : part_name;
}

WeightId WeightId::parse(std::string_view text) {
  std::string_view rest = text;
  const auto number = [&rest] {
    const std::string digits(rest.substr(0, rest.find('.')));
    rest.remove_prefix(std::min(rest.size(), digits.size() + 1));
    return int64_t(std::atoll(digits.c_str()));
  };
  WeightId id{Part::kEmbed};
  std::string part_name;
  if (rest.starts_with("layers.")) {
    rest.remove_prefix(7);
    id.layer = number();
  }
  if (rest.starts_with(kExperts)) {
    rest.remove_prefix(kExperts.size());
    id.expert = number();
    part_name = kExpert;
  }
  part_name += rest;
  for (int part = 0; part < kParts; ++part) {
    id.part = Part(part);
    if (name(id.part) == part_name && id.text() == text) return id;
  }
  fail(Code::kData, "cannot read weight name '{}'", text);
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

Checkpoint Checkpoint::open(const fs::path& path) {
  require_exists(path, "model", Code::kModel);
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  if (!fs::is_directory(path) && path.extension() != ".gguf")
    fail(Code::kModel, "cannot open model {}: it is neither a folder nor a .gguf file", path.string());
  impl->source = fs::is_directory(path) ? open_folder_source(path) : open_gguf_source(path);
  impl->json = impl->source->config_json();
  impl->config = read_config(impl->json, fs::is_directory(path) ? (path / "config.json").string() : path.string());
  impl->text = impl->source->text();

  impl->place_weights();
  return Checkpoint(std::move(impl));
}

const fs::path& Checkpoint::path() const { return impl_->path; }
bool Checkpoint::is_gguf() const { return !fs::is_directory(impl_->path); }
bool Checkpoint::is_packed() const { return impl_->source->packed(); }
const ModelConfig& Checkpoint::config() const { return impl_->config; }
const Json& Checkpoint::config_json() const { return impl_->json; }
const text::TextAssets& Checkpoint::text() const { return impl_->text; }
std::vector<int32_t> Checkpoint::stop_ids() const { return impl_->source->stop_ids(); }
std::vector<std::string> Checkpoint::tensor_names() const { return impl_->source->names(); }
at::Tensor Checkpoint::tensor(const std::string& name) const { return impl_->source->tensor(name); }
std::string Checkpoint::dtype_name(const std::string& name) const { return impl_->source->dtype(name); }
std::vector<int64_t> Checkpoint::shape(const std::string& name) const { return impl_->source->shape(name); }
uint64_t Checkpoint::bytes() const { return impl_->source->bytes(); }

std::string Checkpoint::dtypes() const {
  std::map<std::string, int64_t> counts;
  for (const std::string& name : tensor_names()) ++counts[dtype_name(name)];
  std::string text;
  for (const auto& [dtype, count] : counts) text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, dtype);
  return text;
}

at::ScalarType Checkpoint::main_dtype() const {
  if (is_packed()) return at::kBFloat16;
  std::map<at::ScalarType, int64_t> numbers;
  for (const std::string& name : tensor_names()) {
    int64_t count = 1;
    for (const int64_t n : shape(name)) count *= n;
    numbers[tensor::find_file_dtype(dtype_name(name)).value_or(at::kFloat)] += count;
  }
  const auto most =
      std::max_element(numbers.begin(), numbers.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most == numbers.end() ? at::kFloat : most->first;
}

bool Checkpoint::has(WeightId id) const { return impl_->weights.contains(id); }

std::string Checkpoint::tensor_name(WeightId id) const {
  const auto it = impl_->weights.find(id);
  if (it == impl_->weights.end()) fail(Code::kModel, "cannot find weight {} in {}", id.text(), impl_->path.string());
  return it->second.first;
}

at::Tensor Checkpoint::weight(WeightId id) const {
  return logical_view(tensor(tensor_name(id)), *impl_->weights.at(id).second, config(), id.expert);
}

std::vector<int64_t> Checkpoint::weight_shape(WeightId id) const {
  tensor_name(id);
  return expected_shape(id.part, config());
}

void Checkpoint::put_weight(const at::Tensor& file_tensor, WeightId id, const at::Tensor& value) const {
  write_logical(file_tensor, *impl_->weights.at(id).second, config(), id.expert, value);
}

const std::string& Checkpoint::digest() const {
  if (impl_->digest.empty()) {
    Sha256 whole;
    for (const fs::path& file : impl_->source->weight_files()) whole.update(sha256_file(file));
    whole.update(is_gguf() ? "" : impl_->json.dump());
    impl_->digest = whole.hex();
  }
  return impl_->digest;
}

std::map<std::string, std::string> Checkpoint::text_files() const { return impl_->source->text_files(); }

void Checkpoint::forget_pages() const { impl_->source->forget_pages(); }

void write_checkpoint(const Checkpoint& source, const Changes& changes, const fs::path& destination,
                      std::optional<at::ScalarType> dtype) {
  if (!source.is_gguf() && !source.is_packed() && !dtype) {
    io::FolderChange change;
    change.tensors = changes.tensors;
    change.files = changes.files;
    io::rewrite_folder(source.path(), change, destination);
    return;
  }
  const at::ScalarType to = dtype.value_or(source.is_packed() ? at::kBFloat16 : at::kFloat);
  // Beside packed weights the others keep their own dtype.
  const auto cast = [&](const at::Tensor& t) { return (source.is_packed() && !dtype ? t : t.to(to)).contiguous(); };
  std::vector<std::pair<std::string, std::function<at::Tensor()>>> tensors;
  std::set<std::string> names;
  for (const std::string& name : source.tensor_names()) {
    names.insert(name);
    tensors.emplace_back(name, [&, name] {
      const auto changed = changes.tensors.find(name);
      return cast(changed == changes.tensors.end() ? source.tensor(name) : changed->second);
    });
  }
  for (const auto& [name, value] : changes.tensors)
    if (!names.contains(name)) tensors.emplace_back(name, [&value, &cast] { return cast(value); });
  std::map<std::string, std::string> files = source.text_files();
  for (const auto& [name, text] : changes.files) files[name] = text;
  Json config = parse_json(files.at("config.json"), "config.json", Code::kModel);
  for (const char* key : {"torch_dtype", "dtype"})
    if (config.contains(key) || std::string_view(key) == "dtype") config[key] = tensor::config_spelling(to);
  files["config.json"] = to_text(config);
  io::write_folder(tensors, files, destination);
}

}  // namespace suture::model
