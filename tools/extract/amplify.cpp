// SPDX-License-Identifier: Apache-2.0
// suture extract amplify: vectors of safe behaviour from few-shot refusals, and a probe that says when to use them.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "io/vector_store.h"
#include "methods/amplification.h"
#include "methods/linear_probe.h"
#include "methods/residual_difference.h"
#include "steps/collect.h"
#include "steps/demonstrations.h"
#include "steps/head_effects.h"
#include "tensor/dtype.h"
#include "tools/commands.h"
#include "tools/common.h"
#include "tools/extract/head_scores.h"

namespace suture::config {
template <>
struct Names<steps::PromptForm> {
  static constexpr std::pair<std::string_view, steps::PromptForm> table[] = {{"chat", steps::PromptForm::kChat},
                                                                             {"plain", steps::PromptForm::kPlain}};
};
}  // namespace suture::config

namespace suture::cli {
namespace {

using hook::Point;
using hook::Site;

struct HeadsConfig {
  bool use = true;
  int64_t top = 10, prompts = 25, layer = -1;
  std::vector<std::vector<int64_t>> list;
  double scale = 0.5;
  template <class V>
  void visit(V& v) {
    v.optional("use", use, "compute the head-based vector");
    v.optional("top", top, "heads to sum", config::at_least(1));
    v.optional("list", list, "heads to sum as [layer, head] pairs, instead of ranking them");
    v.optional("prompts", prompts, "corrupted (zero-shot) prompts for the ranking", config::at_least(1));
    v.optional("layer", layer, "0-based block whose output the vector is for; -1: a third of the way up",
               config::at_least(-1));
    v.optional("scale", scale, "recommended multiplier");
  }
};

struct ResidualConfig {
  std::vector<int64_t> layers;
  int64_t steps = 1;
  double scale = 1;
  template <class V>
  void visit(V& v) {
    v.optional("layers", layers, "0-based blocks; none when left out", config::at_least(0));
    v.optional("steps", steps,
               "1: a vector a layer, from the last prompt token; N: a vector a layer for it and each of the first N-1 "
               "answer tokens",
               config::between(1, 64));
    v.optional("scale", scale, "recommended multiplier");
  }
};

struct GateConfig {
  int64_t layer = -1;
  std::vector<fs::path> harmful, harmless, plain;
  double shrinkage = 0.3, false_alarms = -1;
  template <class V>
  void visit(V& v) {
    v.optional("layer", layer, "0-based block the probe reads; -1: no gate", config::at_least(-1));
    v.optional("harmful", harmful, "data sets with a column 'question'");
    v.optional("harmless", harmless, "data sets with a column 'question'");
    v.optional("plain", plain,
               "data sets whose 'answer' texts are harmless without a chat template too: without them a chat gate may "
               "take any plain text for harmful");
    v.optional("shrinkage", shrinkage, "added to the covariance's diagonal, as a share of it",
               config::between(1e-6, 10));
    v.optional("false_alarms", false_alarms,
               "share of the harmless prompts that may open the gate; -1: where both errors together are least",
               config::between(-1, 1));
  }
  void check(config::Checker& c) const {
    c.require(layer < 0 || (!harmful.empty() && !harmless.empty()), "layer",
              "needs 'harmful' and 'harmless' data sets");
  }
};

struct AmplifyConfig {
  fs::path model, demonstrations, queries;
  steps::PromptForm form = steps::PromptForm::kChat;
  int64_t shots = 4, prompts = 24;
  HeadsConfig heads;
  ResidualConfig residual;
  GateConfig gate;
  uint64_t seed = 1;
  std::string tokens = "last+4";
  template <class V>
  void visit(V& v) {
    v.required("model", model, "checkpoint: HF folder or .gguf");
    v.required("demonstrations", demonstrations, "unsafe questions and refusals, columns 'question' and 'answer'");
    v.required("queries", queries, "unsafe questions to ask after the demonstrations, column 'question'");
    v.optional("form", form, "chat (the model's template) or plain (Q:/A: blocks, as in the paper)");
    v.optional("shots", shots, "demonstrations in front of a query", config::between(1, 100));
    v.optional("prompts", prompts, "queries to use", config::at_least(2));
    v.optional("heads", heads, "sum of head outputs (SafeInfer)");
    v.optional("residual", residual, "difference of residual streams with and without demonstrations");
    v.optional("gate", gate, "probe that tells harmful prompts");
    v.optional("seed", seed, "of the drawn demonstrations and the gate's folds");
    v.optional("tokens", tokens, "recommended tokens for the vectors");
  }
};

struct Work {  // one extraction: what is computed once and used by several vectors
  const AmplifyConfig& config;
  const decode::LanguageModel& model;
  steps::Demonstrations demonstrations;
  steps::Questions queries;
  std::vector<std::vector<int32_t>> shown, bare;
  std::vector<int32_t> opening;  // first answer tokens forced after every prompt
  io::VectorStore store;
  Json seconds = Json::object();
};

io::StoredVector stored(std::string name, at::Tensor value, Site site, int64_t layer, double scale,
                        const std::string& tokens, std::string method, Json attributes, const Work& work) {
  return {std::move(name),
          std::move(value),
          std::string(hook::name(site)),
          layer,
          scale,
          tokens,
          std::move(method),
          tensor::config_spelling(work.model.transformer.dtype()),
          std::move(attributes)};
}

void add_heads(Work& work, const std::map<Point, at::Tensor>& shown) {
  const HeadsConfig& config = work.config.heads;
  const model::ModelConfig& shape = work.model.transformer.config();
  const Stopwatch watch;
  const at::Tensor mean_LHd = methods::mean_heads(shape, shown);
  std::vector<methods::Head> heads;
  Json attributes = Json::object();
  if (config.list.empty()) {
    std::vector<std::vector<int32_t>> corrupted = work.bare;
    corrupted.resize(std::min(corrupted.size(), size_t(config.prompts)));
    const std::vector<int32_t> answers =
        steps::first_answer_tokens(work.model, work.demonstrations.pairs, work.config.form);
    const steps::HeadEffects effects = steps::head_effects(work.model.transformer, corrupted, mean_LHd, answers);
    heads = methods::top_heads(effects.mean_LH(), config.top);
    work.store.tables["head_scores_LH"] = effects.mean_LH();
    attributes["answers"] = answers;
    attributes["baseline"] = effects.before;
  } else {
    heads = methods::given_heads(shape, config.list);
  }
  work.store.tables["mean_heads_LHd"] = mean_LHd;
  attributes["heads"] = Json::array();
  for (const methods::Head& head : heads)
    attributes["heads"].push_back({{"layer", head.layer},
                                   {"head", head.head},
                                   {"score", std::isnan(head.score) ? Json(nullptr) : Json(head.score)}});
  const int64_t layer = config.layer >= 0 ? config.layer : std::max<int64_t>(0, (shape.layers + 1) / 3 - 1);
  work.store.vectors.push_back(stored("amplify", methods::safety_vector(work.model.transformer, mean_LHd, heads),
                                      Site::kResidOut, layer, config.scale, "last", "safeinfer-heads", attributes,
                                      work));
  work.seconds["head_effects"] = watch.seconds();
}

// Activations at one of the recorded tokens: 0 is the last prompt token.
std::map<Point, at::Tensor> at_step(const std::map<Point, at::Tensor>& all, int64_t step) {
  std::map<Point, at::Tensor> one;
  for (const auto& [point, value] : all) one[point] = value.select(1, step);
  return one;
}

void add_residuals(Work& work, const std::map<Point, at::Tensor>& shown, const std::map<Point, at::Tensor>& bare) {
  const ResidualConfig& config = work.config.residual;
  for (int64_t step = 0; step < config.steps; ++step)
    for (const auto& [layer, vector] :
         methods::residual_difference(at_step(shown, step), at_step(bare, step), config.layers)) {
      const bool plain = config.steps == 1;
      const std::string tokens = plain ? work.config.tokens : fmt::format("step {}", step);
      work.store.vectors.push_back(stored(
          plain ? fmt::format("residual.{}", layer) : fmt::format("residual.{}.{}", layer, step), vector,
          Site::kResidOut, layer, config.scale, tokens, "residual-difference", {{"opening", work.opening}}, work));
    }
}

std::vector<std::vector<int32_t>> chat_prompts(const Work& work, const std::vector<fs::path>& files, Json& sources) {
  std::vector<std::vector<int32_t>> prompts;
  for (const fs::path& file : files) {
    const steps::Questions questions = steps::read_questions(file);
    for (const std::string& text : questions.texts)
      prompts.push_back(steps::few_shot_ids(work.model, {}, text, work.config.form));
    sources.push_back(
        {{"path", questions.origin}, {"sha256", questions.digest}, {"questions", questions.texts.size()}});
  }
  return prompts;
}

// The first tokens of every answer, as text that no chat template surrounds.
std::vector<std::vector<int32_t>> plain_starts(const Work& work, const std::vector<fs::path>& files, Json& sources) {
  constexpr size_t kLengths[] = {6, 12, 20};
  std::vector<std::vector<int32_t>> starts;
  for (const fs::path& file : files) {
    const steps::Demonstrations texts = steps::read_demonstrations(file);
    for (const steps::Demonstration& pair : texts.pairs) {
      const std::vector<int32_t> ids = work.model.encode(pair.answer).ids;
      for (const size_t length : kLengths)
        if (ids.size() >= length) starts.emplace_back(ids.begin(), ids.begin() + int64_t(length));
    }
    sources.push_back({{"path", texts.origin}, {"sha256", texts.digest}, {"answers", texts.pairs.size()}});
  }
  return starts;
}

// Prompts are scored by probes that did not see them: five folds, each fitted to the other four fifths.
constexpr int64_t kFolds = 5;

int64_t folds_of(const at::Tensor& harmful_ND, const at::Tensor& harmless_ND) {
  return std::min({kFolds, harmful_ND.size(0), harmless_ND.size(0)});
}

at::Tensor fold(const at::Tensor& x_ND, int64_t number, int64_t folds, bool inside) {
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < x_ND.size(0); ++i)
    if ((i % folds == number) == inside) rows.push_back(x_ND[i]);
  return at::stack(rows);
}

// Files are written topic by topic and opening by opening: in file order a fold would miss a whole kind.
at::Tensor shuffled(const at::Tensor& x_ND, uint64_t seed, std::string_view name) {
  return x_ND.index_select(0, at::tensor(Stream(seed, name).permutation(x_ND.size(0))));
}

methods::ProbeCheck cross_checked(const at::Tensor& in_order_harmful_ND, const at::Tensor& in_order_harmless_ND,
                                  const GateConfig& config, uint64_t seed) {
  const at::Tensor harmful_ND = shuffled(in_order_harmful_ND, seed, "gate, harmful folds");
  const at::Tensor harmless_ND = shuffled(in_order_harmless_ND, seed, "gate, harmless folds");
  std::vector<double> harmful, harmless;
  const auto add = [](std::vector<double>& all, const std::vector<double>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  const int64_t folds = folds_of(harmful_ND, harmless_ND);
  for (int64_t k = 0; k < folds; ++k) {
    const methods::Probe probe =
        methods::fit_probe(fold(harmful_ND, k, folds, false), fold(harmless_ND, k, folds, false), config.shrinkage);
    add(harmful, methods::probe_scores(probe, fold(harmful_ND, k, folds, true)));
    add(harmless, methods::probe_scores(probe, fold(harmless_ND, k, folds, true)));
  }
  return methods::choose_threshold(harmful, harmless,
                                   config.false_alarms < 0 ? std::nullopt : std::optional(config.false_alarms));
}

void add_gate(Work& work) {
  const GateConfig& config = work.config.gate;
  const Stopwatch watch;
  Json sources = {{"harmful", Json::array()}, {"harmless", Json::array()}, {"plain", Json::array()}};
  const Point point{Site::kResidOut, config.layer};
  const auto states = [&](const std::vector<std::vector<int32_t>>& prompts, std::string_view what) {
    return steps::last_token_activations(work.model.transformer, prompts, {point}, what).at(point);
  };
  const at::Tensor harmful_ND = states(chat_prompts(work, config.harmful, sources["harmful"]), "gate, harmful");
  at::Tensor harmless_ND = states(chat_prompts(work, config.harmless, sources["harmless"]), "gate, harmless");
  if (const auto plain = plain_starts(work, config.plain, sources["plain"]); !plain.empty())
    harmless_ND = at::cat({harmless_ND, states(plain, "gate, plain text")}, 0);
  const methods::ProbeCheck check = cross_checked(harmful_ND, harmless_ND, config, work.config.seed);
  const methods::Probe probe = methods::fit_probe(harmful_ND, harmless_ND, config.shrinkage);
  const Json held_out = {
      {"folds", folds_of(harmful_ND, harmless_ND)}, {"area", check.area},       {"caught", check.caught},
      {"false_alarms", check.false_alarms},         {"harmful", check.harmful}, {"harmless", check.harmless}};
  const Json attributes = {
      {"bias", probe.bias}, {"threshold", check.threshold}, {"held_out", held_out}, {"sources", sources}};
  work.store.vectors.push_back(
      stored("gate", probe.weight_D, Site::kResidOut, config.layer, 1, "last", "linear-probe", attributes, work));
  work.seconds["gate"] = watch.seconds();
  spdlog::info(
      "gate at layer {}: area under ROC {:.4f}, catches {:.1f} % with {:.1f} % false alarms, each prompt held out once",
      config.layer, check.area, 100 * check.caught, 100 * check.false_alarms);
}

void check_layers(const AmplifyConfig& config, int64_t layers) {
  std::vector<int64_t> all = config.residual.layers;
  all.push_back(config.heads.layer);
  all.push_back(config.gate.layer);
  for (const int64_t layer : all)
    if (layer >= layers) fail(Code::kModel, "cannot use layer {}: model has layers 0..{}", layer, layers - 1);
}

void extract(Work& work) {
  const AmplifyConfig& config = work.config;
  const Stopwatch watch;
  std::vector<Point> points, bare_points;
  for (const int64_t layer : config.residual.layers) bare_points.push_back({Site::kResidOut, layer});
  points = bare_points;
  if (config.heads.use)
    for (const Point& point : methods::head_points(work.model.transformer.config())) points.push_back(point);
  if (!points.empty()) {
    // The answer's opening is forced on both sides, so that they differ in the demonstrations alone.
    const int64_t steps = config.residual.steps;
    if (steps > 1) work.opening = steps::common_opening(work.model, work.demonstrations.pairs, config.form, steps - 1);
    const auto opened = [&](std::vector<std::vector<int32_t>> prompts) {
      for (auto& ids : prompts) ids.insert(ids.end(), work.opening.begin(), work.opening.end());
      return prompts;
    };
    const auto shown = steps::last_tokens_activations(work.model.transformer, opened(work.shown), steps, points,
                                                      "with demonstrations");
    const auto bare = bare_points.empty()
                          ? std::map<Point, at::Tensor>{}
                          : steps::last_tokens_activations(work.model.transformer, opened(work.bare), steps,
                                                           bare_points, "without demonstrations");
    work.seconds["activations"] = watch.seconds();
    if (config.heads.use) add_heads(work, at_step(shown, 0));
    add_residuals(work, shown, bare);
  }
  if (config.gate.layer >= 0) add_gate(work);
}

int run_amplify(const Invocation& invocation) {
  const auto config = load_config<AmplifyConfig>(invocation);
  hook::Where::parse(config.tokens);
  steps::Demonstrations demonstrations = steps::read_demonstrations(config.demonstrations);
  steps::Questions queries = steps::read_questions(config.queries);
  for (const auto* files : {&config.gate.harmful, &config.gate.harmless, &config.gate.plain})
    for (const fs::path& file : *files) require_exists(file, "data set", Code::kData);
  if (invocation.common.check) return 0;
  require_exists(config.model, "model", Code::kModel);
  const Stopwatch watch;
  const fs::path out = invocation.out("FILE.h5");
  if (fs::exists(out) && !invocation.common.force)
    fail(Code::kUsage, "cannot write {}: it exists; choose another --out or pass --force", out.string());
  const at::NoGradGuard no_grad;
  const auto model = decode::LanguageModel::load(config.model, load_options(invocation, at::kFloat));
  check_layers(config, model.transformer.config().layers);
  Work work{config, model, std::move(demonstrations), std::move(queries), {}, {}, {}, {}};
  work.queries.texts.resize(std::min(work.queries.texts.size(), size_t(config.prompts)));
  work.shown = steps::few_shot_prompts(model, work.demonstrations.pairs, work.queries.texts, config.shots, config.form,
                                       config.seed);
  for (const std::string& query : work.queries.texts)
    work.bare.push_back(steps::few_shot_ids(model, {}, query, config.form));
  extract(work);
  work.seconds["total"] = watch.seconds();
  work.store.provenance = {
      {"tool", "suture extract amplify"},
      {"environment", environment()},
      {"config", config::resolved(config)},
      {"model", model_record(model.checkpoint)},
      {"demonstrations",
       {{"path", work.demonstrations.origin},
        {"sha256", work.demonstrations.digest},
        {"pairs", work.demonstrations.pairs.size()}}},
      {"queries",
       {{"path", work.queries.origin}, {"sha256", work.queries.digest}, {"used", work.queries.texts.size()}}},
      {"date_in_templates", model.date},
      {"seconds", work.seconds},
      {"peak_memory_bytes", peak_rss_bytes()}};
  if (invocation.common.dry_run) return 0;
  io::write_vector_store(out, work.store);
  write_head_scores(out, work.store);
  emit(invocation.common.json ? to_text(work.store.provenance) : show_store(work.store));
  return 0;
}

}  // namespace

const Command kExtractAmplify = {.name = "extract amplify",
                                 .usage = "extract amplify CONFIG --out FILE.h5",
                                 .summary = "compute safety vectors and a gate from demonstrations",
                                 .run = run_amplify,
                                 .schema = &config::schema<AmplifyConfig>};

}  // namespace suture::cli
