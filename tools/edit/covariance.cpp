// SPDX-License-Identifier: Apache-2.0
// suture edit covariance: fill the store of second moments that edits read.
#include "tools/commands.h"
#include "tools/edit/edit_config.h"

namespace suture::cli {
namespace {

struct CovarianceConfig {
  fs::path model;
  std::vector<int64_t> layers;
  MomentConfig moment;
  template <class V>
  void visit(V& v) {
    v.required("model", model, "checkpoint: HF folder or .gguf");
    v.required("layers", layers, "0-based blocks", config::at_least(0));
    v.required("moment", moment, "where the keys come from, and the store to fill");
  }
  void check(config::Checker& c) const {
    c.require(!moment.store.empty(), "moment.store", "must be given");
    c.require(moment.source != MomentSource::kNone, "moment.source", "must be self or text");
  }
};

int run_covariance(const Invocation& invocation) {
  const auto config = load_config<CovarianceConfig>(invocation);
  if (invocation.common.check) return 0;
  require_exists(config.model, "model", Code::kModel);
  const auto model = decode::LanguageModel::load(config.model, load_options(invocation, at::kFloat));
  Json rows = Json::array();
  for (const int64_t layer : config.layers) {
    if (layer >= model.transformer.config().layers)
      fail(Code::kModel, "cannot use layer {}: model has layers 0..{}", layer, model.transformer.config().layers - 1);
    Json record;
    moment_for(model, layer, config.moment, record);
    if (!invocation.common.json)
      emit(fmt::format("layer {}: {} tokens, condition {:.3g}, {}", layer, record["tokens"].get<int64_t>(),
                       record["condition"].get<double>(),
                       record["from_store"].get<bool>() ? "already in the store"
                                                        : fmt::format("{:.1f} s", record["seconds"].get<double>())));
    rows.push_back(std::move(record));
  }
  if (invocation.common.json) emit(rows);
  return 0;
}

}  // namespace

const Command kEditCovariance = {.name = "edit covariance",
                                 .usage = "edit covariance CONFIG",
                                 .summary = "compute second moments of MLP keys and keep them",
                                 .run = run_covariance,
                                 .schema = &config::schema<CovarianceConfig>};

}  // namespace suture::cli
