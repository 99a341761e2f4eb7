// SPDX-License-Identifier: Apache-2.0
#include "tools/common.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <sys/resource.h>
#include <torch/version.h>

#include <charconv>
#include <fstream>

#include "core/log.h"
#include "io/vector_store.h"
#include "methods/guided_decoding.h"
#include "tensor/dtype.h"

namespace suture::cli {
namespace {

// The build links only LibTorch's CPU part. Must come before anything asks LibTorch about CUDA: it remembers the
// answer.
void load_cuda(int64_t index) {
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr)
    fail(Code::kResource, "cannot use CUDA: {}; use --device cpu", dlerror());
  if (!at::hasCUDA()) fail(Code::kResource, "cannot use CUDA: LibTorch sees no driver; use --device cpu");
  const int64_t count = at::detail::getCUDAHooks().getNumGPUs();
  if (index >= count) fail(Code::kResource, "cannot use cuda:{}: the machine has {} CUDA devices", index, count);
}

at::Device parse_device(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  int index = 0;
  const bool numbered = text.starts_with("cuda:");
  const char* const end = text.data() + text.size();
  if (text != "cuda") {
    const auto [stop, error] = numbered ? std::from_chars(text.data() + 5, end, index)
                                        : std::from_chars_result{end, std::errc::invalid_argument};
    if (error != std::errc() || stop != end || index < 0 || index > 127)
      fail(Code::kUsage, "--device must be cpu, cuda or cuda:N, got '{}'", text);
  }
  load_cuda(index);
  return at::Device(at::kCUDA, c10::DeviceIndex(index));
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

// ---- plans

using Stores = std::map<fs::path, io::VectorStore>;

void warn_about_origin(const io::VectorStore& store, const fs::path& path, const model::Checkpoint& origin) {
  const auto model = store.provenance.find("model");
  if (model == store.provenance.end() || !model->is_object() || !model->contains("digest")) return;
  if ((*model)["digest"] != origin.digest())
    spdlog::warn("the vectors of {} were made from another model than {}", path.string(), origin.path().string());
}

const io::StoredVector& stored(Stores& stores, const fs::path& path, const std::string& name,
                               const model::Checkpoint* origin) {
  auto it = stores.find(path);
  if (it == stores.end()) {
    it = stores.emplace(path, io::read_vector_store(path)).first;
    if (origin != nullptr) warn_about_origin(it->second, path, *origin);
  }
  return it->second.vector(name);
}

std::string label(const fs::path& path, const std::string& name) {
  return fmt::format("{}:{}", path.filename().string(), name);
}

hook::Point point(const io::StoredVector& vector, const fs::path& path, std::optional<hook::Site> site,
                  std::optional<int64_t> layer) {
  if (!site) site = hook::site_from(vector.site);
  if (!site)
    fail(Code::kData, "cannot use vector '{}' of {}: unknown site '{}', expected {}", vector.name, path.string(),
         vector.site, hook::site_names());
  return {*site, layer.value_or(vector.layer)};
}

hook::Where where(const io::StoredVector& vector, const std::optional<std::string>& tokens) {
  if (tokens) return hook::Where::parse(*tokens);
  return vector.where.empty() ? hook::Where{} : hook::Where::parse(vector.where);
}

double attribute(const io::StoredVector& vector, const fs::path& path, const char* key) {
  const auto it = vector.attributes.find(key);
  if (it == vector.attributes.end() || !it->is_number())
    fail(Code::kData, "cannot use '{}' of {} as a gate: it has no attribute '{}'", vector.name, path.string(), key);
  return it->get<double>();
}

hook::Gate make_gate(const GateUse& use, Stores& stores, const model::Checkpoint* origin) {
  const io::StoredVector& vector = stored(stores, use.vector, use.name, origin);
  return {.at = point(vector, use.vector, std::nullopt, std::nullopt),
          .weight_D = vector.value_D,
          .bias = attribute(vector, use.vector, "bias"),
          .threshold = use.threshold ? *use.threshold : attribute(vector, use.vector, "threshold"),
          .label = label(use.vector, use.name)};
}

// ---- voices

// Guided pairs exchange token ids, so every id must mean the same to both.
void require_same_words(const decode::LanguageModel& model, const decode::LanguageModel& other) {
  const int64_t ours = model.checkpoint.config().vocab, theirs = other.checkpoint.config().vocab;
  if (ours != theirs)
    fail(Code::kModel, "cannot guide: the model has {} tokens in its vocabulary, the harmful model {}", ours, theirs);
  if (!model.tokenizer || !other.tokenizer) return;
  for (int32_t id = 0; id < int32_t(ours); ++id) {
    const auto a = model.tokenizer->id_to_token(id), b = other.tokenizer->id_to_token(id);
    if (a != b)
      fail(Code::kModel, "cannot guide: token {} is '{}' to the model and '{}' to the harmful model", id,
           a.value_or(""), b.value_or(""));
  }
}

std::function<decode::Prompt(const std::string&)> make_prompt(const decode::LanguageModel& model,
                                                              const VoiceSettings& settings,
                                                              const std::string& adversarial) {
  if (settings.raw) {
    if (!settings.system.empty()) fail(Code::kUsage, "cannot use a system prompt without the chat template");
    if (!adversarial.empty()) fail(Code::kUsage, "cannot guide by 'harmful_prompt' without the chat template");
    return [&model](const std::string& user) { return decode::Prompt{model.encode(user).ids, {}}; };
  }
  return [&model, system = settings.system, adversarial](const std::string& user) {
    decode::Prompt prompt{model.chat_ids(user, system), {}};
    if (!adversarial.empty()) prompt.other_ids = model.chat_ids(user, adversarial);
    return prompt;
  };
}

}  // namespace

model::LoadOptions load_options(const Invocation& invocation, std::optional<at::ScalarType> fallback) {
  const at::Device device = parse_device(invocation.common.device);
  const std::string& dtype = invocation.common.dtype;
  if (dtype == "auto") return {fallback ? *fallback : model::fastest_dtype(device), device};
  return {tensor::dtype_from_flag(dtype), device};
}

Json environment() {
  return {
      {"suture", SUTURE_VERSION}, {"libtorch", TORCH_VERSION}, {"cpu", cpu_name()}, {"threads", at::get_num_threads()}};
}

Json model_record(const model::Checkpoint& checkpoint) {
  return {{"path", checkpoint.path().string()},
          {"digest", checkpoint.digest()},
          {"family", checkpoint.family().name},
          {"dtypes", checkpoint.dtypes()}};
}

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

void require_no_set(const Invocation& invocation) {
  if (!invocation.common.set.empty())
    fail(Code::kUsage, "cannot use --set: '{}' takes no configuration file", invocation.command());
}

void require_new_file(const Invocation& invocation) {
  if (!invocation.common.out.empty() && fs::exists(invocation.common.out) && !invocation.common.force)
    fail(Code::kUsage, "cannot write {}: it exists; use --force to replace it", invocation.common.out);
}

void give(const Invocation& invocation, const Json& json, const std::string& text) {
  if (!invocation.common.out.empty() && !invocation.common.dry_run)
    write_atomically(invocation.common.out, to_text(json));
  if (invocation.common.json)
    emit(json);
  else
    emit(text);
}

void require_ids(const std::vector<int32_t>& ids, const model::ModelConfig& config, int64_t more,
                 std::string_view what) {
  if (ids.empty()) fail(Code::kData, "cannot use {}: it has no tokens", what);
  for (const int32_t id : ids)
    if (id < 0 || id >= config.vocab)
      fail(Code::kData, "cannot use token {} of {}: the vocabulary has ids 0..{}", id, what, config.vocab - 1);
  const bool bounded = config.traits.position == model::Position::kLearned;
  if (bounded && int64_t(ids.size()) + more > config.context)
    fail(Code::kData, "cannot fit {}: {} tokens and {} to come, the model has {} positions", what, ids.size(), more,
         config.context);
}

void VectorUse::check(config::Checker& checker) const {
  if (!tokens) return;
  try {
    hook::Where::parse(*tokens);
  } catch (const Error&) {
    checker.complain("tokens", "must be all, last, last+N, step N, prompt, generated or index N[,N...]");
  }
}

hook::Plan make_plan(const PlanFile& file, const model::Checkpoint* origin) {
  Stores stores;
  hook::Plan plan;
  for (const VectorUse& use : file.interventions) {
    const io::StoredVector& vector = stored(stores, use.vector, use.name, origin);
    plan.interventions.push_back({.at = point(vector, use.vector, use.site, use.layer),
                                  .where = where(vector, use.tokens),
                                  .action = use.action,
                                  .scale = use.scale.value_or(vector.scale),
                                  .vector_D = vector.value_D,
                                  .label = label(use.vector, use.name)});
  }
  if (file.gate) plan.gate = make_gate(*file.gate, stores, origin);
  return plan;
}

hook::Plan read_plan(const fs::path& yaml, const model::Transformer* check_against, const model::Checkpoint* origin) {
  const config::Source source = config::read_source(yaml);
  auto file = config::load<PlanFile>(source);
  config::resolve_paths(file, source.folder);
  hook::Plan plan = make_plan(file, origin);
  if (check_against != nullptr)
    plan.check(check_against->config().layers, [&](hook::Site site) { return check_against->width_of(site); });
  return plan;
}

GuideFile read_guide(const fs::path& yaml) {
  const config::Source source = config::read_source(yaml);
  auto guide = config::load<GuideFile>(source);
  config::resolve_paths(guide, source.folder);
  return guide;
}

Json Voice::to_json() const {
  Json json = {{"plan", nullptr}, {"guide", nullptr}};
  if (!plan->empty()) json["plan"] = plan->to_json();
  if (guide) {
    json["guide"] = config::resolved(*guide);
    if (other) json["guide"]["harmful_model"] = model_record(other->checkpoint);
  }
  return json;
}

Voice make_voice(const decode::LanguageModel& model, const VoiceSettings& settings) {
  Voice voice;
  voice.plan = std::make_unique<const hook::Plan>(
      settings.plan.empty() ? hook::Plan{} : read_plan(settings.plan, &model.transformer, &model.checkpoint));
  voice.next = std::make_unique<decode::PlainNextToken>(model.transformer, voice.plan.get());
  if (!settings.guide.empty()) voice.guide = read_guide(settings.guide);
  voice.prompt = make_prompt(model, settings, voice.guide ? voice.guide->harmful_prompt : "");
  if (!voice.guide) return voice;
  if (!voice.guide->harmful_model.empty()) {
    const model::LoadOptions options{model.transformer.dtype(), model.transformer.device()};
    voice.other =
        std::make_unique<decode::LanguageModel>(decode::LanguageModel::load(voice.guide->harmful_model, options));
    require_same_words(model, *voice.other);
  }
  auto other = std::make_unique<decode::PlainNextToken>(voice.other ? voice.other->transformer : model.transformer,
                                                        nullptr, true);
  voice.next = std::make_unique<decode::GuidedNextToken>(
      std::move(voice.next), std::move(other),
      [lambda = voice.guide->lambda](const at::Tensor& p, const at::Tensor& u) {
        return methods::guided_log_probs(p, u, lambda);
      });
  return voice;
}

}  // namespace suture::cli
