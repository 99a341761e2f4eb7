// SPDX-License-Identifier: Apache-2.0
#include "methods/amplification.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <limits>

namespace suture::methods {

std::vector<hook::Point> head_points(const model::ModelConfig& config) {
  std::vector<hook::Point> points;
  for (int64_t layer = 0; layer < config.layers; ++layer) points.push_back({hook::Site::kHeadOut, layer});
  return points;
}

at::Tensor mean_heads(const model::ModelConfig& config, const std::map<hook::Point, at::Tensor>& last_token) {
  std::vector<at::Tensor> means;
  for (const hook::Point& point : head_points(config))
    means.push_back(last_token.at(point).mean(0).view({config.heads, config.head_dim}));
  return at::stack(means);
}

std::vector<Head> top_heads(const at::Tensor& score_LH, int64_t k) {
  std::vector<Head> heads;
  for (int64_t layer = 0; layer < score_LH.size(0); ++layer)
    for (int64_t head = 0; head < score_LH.size(1); ++head)
      heads.push_back({layer, head, score_LH[layer][head].item<double>()});
  if (k < 1 || k > int64_t(heads.size())) fail(Code::kConfig, "cannot choose {} heads: model has {}", k, heads.size());
  std::stable_sort(heads.begin(), heads.end(), [](const Head& a, const Head& b) { return a.score > b.score; });
  heads.resize(size_t(k));
  return heads;
}

std::vector<Head> given_heads(const model::ModelConfig& config, const std::vector<std::vector<int64_t>>& list) {
  std::vector<Head> heads;
  for (const std::vector<int64_t>& pair : list) {
    if (pair.size() != 2)
      fail(Code::kConfig, "cannot read heads: each must be [layer, head], got {} numbers", pair.size());
    if (pair[0] < 0 || pair[0] >= config.layers || pair[1] < 0 || pair[1] >= config.heads)
      fail(Code::kModel, "cannot use head [{}, {}]: model has layers 0..{} and heads 0..{}", pair[0], pair[1],
           config.layers - 1, config.heads - 1);
    const bool known =
        std::any_of(heads.begin(), heads.end(), [&](const Head& h) { return h.layer == pair[0] && h.head == pair[1]; });
    if (!known) heads.push_back({pair[0], pair[1], std::numeric_limits<double>::quiet_NaN()});
  }
  return heads;
}

at::Tensor safety_vector(const model::Transformer& model, const at::Tensor& mean_LHd, const std::vector<Head>& heads) {
  const int64_t d = model.config().head_dim;
  at::Tensor sum = at::zeros({model.config().width}, at::kFloat);
  for (const Head& head : heads) {
    const at::Tensor slice_Dd =
        model.output_projection_OI(head.layer).narrow(1, head.head * d, d).to(at::kCPU, at::kFloat);
    sum = sum + at::matmul(slice_Dd, mean_LHd[head.layer][head.head].to(at::kFloat));
  }
  return sum;
}

}  // namespace suture::methods
