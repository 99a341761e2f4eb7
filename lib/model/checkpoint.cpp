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
};

namespace {

bool needed(const TensorRule& rule, const ModelConfig& config) {
  switch (rule.need) {
    case Need::kAlways:
      return true;
    case Need::kUnlessTied:
      return !config.tied;
    case Need::kIfAttentionBias:
      return config.attention_bias;
    case Need::kIfMlpBias:
      return config.mlp_bias;
  }
  return true;
}

std::vector<int64_t> expected_shape(Part part, const ModelConfig& c) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  switch (part) {
    case Part::kEmbed:
    case Part::kHead:
      return {c.vocab, c.width};
    case Part::kPositions:
      return {c.context, c.width};
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
    case Part::kGate:
    case Part::kUp:
      return {c.hidden, c.width};
    case Part::kGateBias:
    case Part::kUpBias:
      return {c.hidden};
    case Part::kDown:
      return {c.width, c.hidden};
    default:
      return {c.width};
  }
}

// Shape that the file's tensor must have for the logical weight to fit.
std::vector<int64_t> file_shape(const TensorRule& rule, const ModelConfig& config) {
  std::vector<int64_t> shape = expected_shape(rule.part, config);
  if (rule.slice != Slice::kWhole) shape[0] *= 3;
  if (rule.layout == Layout::kInOut && shape.size() == 2) std::swap(shape[0], shape[1]);
  return shape;
}

std::set<std::string> ignored_names(const ModelConfig& config) {
  std::set<std::string> names;
  for (const std::string_view pattern : config.family->ignored_tensors)
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const std::string name = with_layer(pattern, layer);
      names.insert(name);
      if (name.starts_with(config.family->prefix)) names.insert(name.substr(config.family->prefix.size()));
    }
  return names;
}

bool starts_any(const std::vector<std::string>& names, std::string_view prefix) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return name.starts_with(prefix); });
}

std::string shown(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace

std::vector<int32_t> token_ids(const Json& json, const std::string& key) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return {};
  if (it->is_number_integer()) return {it->get<int32_t>()};
  if (it->is_array()) return it->get<std::vector<int32_t>>();
  fail(Code::kModel, "cannot read '{}': must be a token id or a list of them, got {}", key, it->dump());
}

std::string WeightId::text() const {
  return per_layer(part) ? fmt::format("layers.{}.{}", layer, name(part)) : std::string(name(part));
}

WeightId WeightId::parse(std::string_view text) {
  std::string_view rest = text;
  int64_t layer = 0;
  if (rest.starts_with("layers.")) {
    rest.remove_prefix(7);
    const size_t dot = rest.find('.');
    if (dot != std::string_view::npos) {
      layer = std::atoll(std::string(rest.substr(0, dot)).c_str());
      rest.remove_prefix(dot + 1);
    }
  }
  for (int part = 0; part <= int(Part::kDownBias); ++part)
    if (const WeightId id{Part(part), layer}; name(Part(part)) == rest && id.text() == text) return id;
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

  const ModelConfig& config = impl->config;
  const std::vector<std::string> names = impl->source->names();
  std::set<std::string> unused(names.begin(), names.end());
  const std::string_view prefix = config.family->prefix;
  const bool stripped = !starts_any(names, prefix);
  std::set<std::string> used;
  for (const TensorRule& rule : config.family->rules) {
    if (!needed(rule, config)) continue;
    for (int64_t layer = 0; layer < (per_layer(rule.part) ? config.layers : 1); ++layer) {
      std::string name = with_layer(rule.name, layer);
      if (stripped && name.starts_with(prefix)) name.erase(0, prefix.size());
      if (!unused.contains(name) && !used.contains(name))
        fail(Code::kFile, "cannot load {}: tensor '{}' is missing", path.string(), name);
      if (const auto shape = impl->source->shape(name); shape != file_shape(rule, config))
        fail(Code::kFile, "cannot load {}: tensor '{}' has shape {}, config.json asks for {}", path.string(), name,
             shown(shape), shown(file_shape(rule, config)));
      unused.erase(name);
      used.insert(name);
      impl->weights[{rule.part, per_layer(rule.part) ? layer : 0}] = {name, &rule};
    }
  }
  for (const std::string& name : ignored_names(config)) unused.erase(name);
  if (config.tied) unused.erase(std::string(rule_of(*config.family, Part::kHead)->name));
  if (!unused.empty())
    fail(Code::kModel, "cannot load {}: {} tensors of the file are not used by this model type, the first is '{}'",
         path.string(), unused.size(), *unused.begin());
  return Checkpoint(std::move(impl));
}

const fs::path& Checkpoint::path() const { return impl_->path; }
bool Checkpoint::is_gguf() const { return !fs::is_directory(impl_->path); }
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
  return logical_view(tensor(tensor_name(id)), *impl_->weights.at(id).second);
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
  if (!source.is_gguf() && !dtype) {
    io::FolderChange change;
    change.tensors = changes.tensors;
    change.files = changes.files;
    io::rewrite_folder(source.path(), change, destination);
    return;
  }
  const at::ScalarType to = dtype.value_or(at::kFloat);
  std::vector<std::pair<std::string, std::function<at::Tensor()>>> tensors;
  std::set<std::string> names;
  for (const std::string& name : source.tensor_names()) {
    names.insert(name);
    tensors.emplace_back(name, [&, name] {
      const auto changed = changes.tensors.find(name);
      return (changed == changes.tensors.end() ? source.tensor(name) : changed->second).to(to).contiguous();
    });
  }
  for (const auto& [name, value] : changes.tensors)
    if (!names.contains(name)) tensors.emplace_back(name, [&value, to] { return value.to(to).contiguous(); });
  std::map<std::string, std::string> files = source.text_files();
  for (const auto& [name, text] : changes.files) files[name] = text;
  Json config = parse_json(files.at("config.json"), "config.json", Code::kModel);
  for (const char* key : {"torch_dtype", "dtype"})
    if (config.contains(key) || std::string_view(key) == "dtype") config[key] = tensor::config_spelling(to);
  files["config.json"] = to_text(config);
  io::write_folder(tensors, files, destination);
}

}  // namespace suture::model
