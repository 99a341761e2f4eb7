// SPDX-License-Identifier: Apache-2.0
#include "model/mlp.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>

namespace suture::model {
namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kClampedSwiglu:
      break;
  }
  fail(Code::kBug, "this activation needs a gate");
}

struct Routes {
  at::Tensor expert_NK, weight_NK;
};

Routes route(const ModelConfig& config, const at::Tensor& logits_NE) {
  const auto dtype = logits_NE.scalar_type();
  if (config.traits.routing == Routing::kTopThenSoftmax) {
    const auto [top, index] = at::topk(logits_NE, config.top_experts, -1);
    return {index, at::softmax(top.to(at::kFloat), -1).to(dtype)};
  }
  auto [weight, index] = at::topk(at::softmax(logits_NE.to(at::kFloat), -1), config.top_experts, -1);
  if (config.traits.routing == Routing::kSoftmaxThenTopNorm) weight = weight / weight.sum(-1, true);
  return {index, weight.to(dtype)};
}

at::Tensor row(const at::Tensor& table, int64_t expert) { return table.defined() ? table[expert] : at::Tensor(); }

}  // namespace

at::Tensor mlp_key(const ModelConfig& config, const at::Tensor& up) {
  if (!config.traits.gated) return activate(config.activation, up);
  const int64_t width = up.size(-1) / 2;
  const at::Tensor gate = up.narrow(-1, 0, width), value = up.narrow(-1, width, width);
  if (config.activation != Activation::kClampedSwiglu) return activate(config.activation, gate) * value;
  const double limit = config.swiglu_limit;
  const at::Tensor g = gate.clamp_max(limit), v = value.clamp(-limit, limit);
  return (v + 1) * (g * at::sigmoid(g * config.swiglu_alpha));
}

at::Tensor mix_experts(const ModelConfig& config, const Experts& experts, const at::Tensor& x_BTD) {
  const at::Tensor x_ND = x_BTD.flatten(0, 1);
  const Routes routes = route(config, experts.router(x_ND));
  at::Tensor sum_ND = at::zeros_like(x_ND);
  for (int64_t e = 0; e < config.experts; ++e) {
    const at::Tensor hits = at::nonzero(routes.expert_NK == e);  // [hits, (token, choice)]
    if (hits.size(0) == 0) continue;
    const at::Tensor token = hits.select(1, 0), choice = hits.select(1, 1);
    const Linear up(experts.up_E2FD[e], row(experts.up_bias_E2F, e)),
        down(experts.down_EDF[e], row(experts.down_bias_ED, e));
    const at::Tensor out = down(mlp_key(config, up(x_ND.index_select(0, token))));
    sum_ND = sum_ND.index_add(0, token, out * routes.weight_NK.index({token, choice}).unsqueeze(-1));
  }
  if (experts.shared_up) {
    const at::Tensor shared = experts.shared_down(mlp_key(config, experts.shared_up(x_ND)));
    sum_ND = sum_ND + (experts.shared_router ? at::sigmoid(experts.shared_router(x_ND)) * shared : shared);
  }
  return sum_ND.view(x_BTD.sizes());
}

}  // namespace suture::model
