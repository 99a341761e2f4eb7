// SPDX-License-Identifier: Apache-2.0
#include "steps/head_effects.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "core/progress.h"
#include "steps/collect.h"

namespace suture::steps {
namespace {

using hook::Point;
using hook::Site;

at::Tensor probability_of(const at::Tensor& logits_RV, const at::Tensor& answers) {
  return logits_RV.to(at::kFloat).softmax(-1).index_select(-1, answers.to(logits_RV.device())).sum(-1).to(at::kCPU);
}

struct Clean {          // one prompt, run once
  at::Tensor heads_LE;  // the heads' outputs at the last token
  at::Tensor input_LD;  // each block's input at the last token
  model::KvCache cache;
  at::Tensor logits_V;
};

Clean run_prompt(const model::Transformer& model, const std::vector<int32_t>& ids) {
  const int64_t layers = model.config().layers;
  std::vector<Point> points = {{Site::kEmbed, 0}};
  for (int64_t l = 0; l < layers; ++l) {
    points.push_back({Site::kHeadOut, l});
    points.push_back({Site::kResidOut, l});
  }
  Recorder recorder(points, Recorder::Keep::kLastPromptToken);
  model::KvCache cache = model.new_cache(1, int64_t(ids.size()));
  const at::Tensor logits = model.last_logits(model::pad_left({ids}), &cache, &recorder);
  std::vector<at::Tensor> heads, inputs = {recorder.at({Site::kEmbed, 0})[0]};
  for (int64_t l = 0; l < layers; ++l) {
    heads.push_back(recorder.at({Site::kHeadOut, l})[0]);
    inputs.push_back(recorder.at({Site::kResidOut, l})[0]);
  }
  inputs.pop_back();
  cache.truncate(int64_t(ids.size()) - 1);
  return {at::stack(heads), at::stack(inputs), std::move(cache), logits[0]};
}

hook::Tokens last_token(int64_t rows, int64_t length) {
  return {at::tensor(std::vector<int64_t>(size_t(rows), length - 1), at::kLong).unsqueeze(1),
          std::vector<int64_t>(size_t(rows), length)};
}

// Probabilities of the answers with head (l,h) replaced, [L·H].
at::Tensor replaced(const model::Transformer& model, const Clean& clean, const at::Tensor& mean_LHd, int64_t length,
                    const at::Tensor& answers) {
  const int64_t layers = model.config().layers, heads = model.config().heads, d = model.config().head_dim;
  const at::ScalarType dtype = model.dtype();
  at::Tensor x;  // [rows,1,D]: the variants of the layers below
  for (int64_t l = 0; l < layers; ++l) {
    if (x.defined()) {
      const hook::Tokens tokens = last_token(x.size(0), length);
      model::KvCache shared = clean.cache.share_row(0, x.size(0));
      x = model.blocks(l, l + 1, x, tokens, model.geometry(tokens, &shared), &shared, nullptr);
    }
    at::Tensor variant_HE = clean.heads_LE[l].expand({heads, heads * d}).clone();
    for (int64_t h = 0; h < heads; ++h) variant_HE[h].narrow(0, h * d, d).copy_(mean_LHd[l][h]);
    const at::Tensor input = clean.input_LD[l].expand({heads, 1, -1}).to(dtype);
    const at::Tensor fresh =
        model.finish_block(l, input, variant_HE.to(dtype).unsqueeze(1), last_token(heads, length), nullptr);
    x = x.defined() ? at::cat({x, fresh}, 0) : fresh;
  }
  return probability_of(model.head(model.final_norm(x, last_token(x.size(0), length), nullptr)).squeeze(1), answers);
}

}  // namespace

at::Tensor HeadEffects::mean_LH() const { return effect_PLH.mean(0); }

HeadEffects head_effects(const model::Transformer& model, const std::vector<std::vector<int32_t>>& corrupted,
                         const at::Tensor& mean_LHd, const std::vector<int32_t>& answers) {
  const at::NoGradGuard no_grad;
  const at::Tensor answer_ids = at::tensor(std::vector<int64_t>(answers.begin(), answers.end()), at::kLong);
  HeadEffects effects;
  std::vector<at::Tensor> rows;
  Progress progress("head effects", int64_t(corrupted.size()), "prompts");
  for (const std::vector<int32_t>& ids : corrupted) {
    const Clean clean = run_prompt(model, ids);
    const double before = probability_of(clean.logits_V.unsqueeze(0), answer_ids).item<double>();
    const at::Tensor after = replaced(model, clean, mean_LHd, int64_t(ids.size()), answer_ids);
    rows.push_back((after - before).view({model.config().layers, model.config().heads}));
    effects.before.push_back(before);
    progress.advance();
  }
  effects.effect_PLH = at::stack(rows);
  return effects;
}

}  // namespace suture::steps
