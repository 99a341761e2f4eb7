// SPDX-License-Identifier: Apache-2.0
#include "core/digest.h"
#include "core/log.h"
#include "core/progress.h"
#include "io/moments_store.h"
#include "steps/second_moment.h"
#include "tools/edit/edit_config.h"

namespace suture::cli {
namespace {

std::string data_digest(const MomentConfig& config) {
  if (config.source == MomentSource::kText) return sha256_file(config.text);
  return sha256(fmt::format("self/{}/{}", config.length, config.seed));
}

}  // namespace

std::unique_ptr<tensor::SpdSolver> moment_for(const decode::LanguageModel& model, int64_t layer,
                                              const MomentConfig& config, Json& record) {
  record = {{"source", std::string(config::name_of(config.source))}};
  if (config.source == MomentSource::kNone) return nullptr;
  if (config.source == MomentSource::kText) require_exists(config.text, "text", Code::kData);
  const Stopwatch watch;
  io::MomentsKey key{model.checkpoint.digest(), layer, data_digest(config), config.tokens};
  std::optional<tensor::SecondMoment> moment;
  if (!config.store.empty() && fs::exists(config.store))
    moment = io::find_moments(config.store, key, model.transformer.config().hidden);
  const bool stored = moment.has_value();
  if (!stored) {
    const auto texts = config.source == MomentSource::kSelf
                           ? steps::self_written(model, config.tokens, config.length, config.seed)
                           : steps::texts_of(model, config.text, config.tokens, config.length);
    const double reading = watch.seconds();
    moment = steps::second_moment(model.transformer, layer, texts);
    record["text_seconds"] = reading;
    if (!config.store.empty())
      io::put_moments(
          config.store, key, *moment,
          {{"model", model.checkpoint.path().string()}, {"source", record["source"]}, {"counted", moment->count()}});
  }
  if (moment->count() < moment->width())
    spdlog::warn("the second moment has {} tokens for {} dimensions; the ridge decides the rest", moment->count(),
                 moment->width());
  auto solver = std::make_unique<tensor::SpdSolver>(moment->mean_FF(), config.ridge);
  record.update({{"layer", layer},
                 {"tokens", moment->count()},
                 {"width", moment->width()},
                 {"data_digest", key.data_digest},
                 {"model_digest", key.model_digest},
                 {"from_store", stored},
                 {"ridge", solver->ridge()},
                 {"condition", solver->condition()},
                 {"seconds", watch.seconds()}});
  return solver;
}

}  // namespace suture::cli
