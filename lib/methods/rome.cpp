// SPDX-License-Identifier: Apache-2.0
#include "methods/rome.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/dot.h>

#include <cmath>

namespace suture::methods {

RomeEdit rome(const model::Transformer& model, const steps::ValueProblem& problem, const tensor::SpdSolver* moment,
              const RomeOptions& options) {
  RomeEdit edit;
  edit.value = steps::optimise_value(model, problem, options.value);
  const at::Tensor keys = edit.value.keys_NF.to(at::kCPU, at::kDouble);
  const at::Tensor delta = edit.value.delta_D.to(at::kCPU, at::kDouble);
  const at::Tensor k_star = keys.mean(0);
  const bool averaged = options.key_source == KeySource::kAveraged;
  const at::Tensor k = averaged ? k_star : keys[0];
  at::Tensor u = moment != nullptr ? moment->solve(k_star) : k_star;
  u = u / u.norm();
  const double uk = at::dot(u, k).item<double>();
  if (!(std::abs(uk) > 1e-8 * k.norm().item<double>()))
    fail(Code::kNumerics,
         "cannot edit: key and its direction are orthogonal (uᵀk = {:.3g}); use another layer or more moment data", uk);
  const at::Tensor values = edit.value.values_ND.to(at::kCPU, at::kDouble);
  const at::Tensor v_star = values[0] + delta, now = averaged ? values.mean(0) : values[0];  // now = W k + b
  edit.left_O = ((v_star - now) / uk).to(at::kFloat);
  edit.right_I = u.to(at::kFloat);
  const double change = edit.left_O.norm().item<double>() * edit.right_I.norm().item<double>();
  edit.record = {{"layer", options.value.layer},
                 {"key_source", averaged ? "averaged" : "bare_prompt"},
                 {"contexts", int64_t(problem.contexts.size())},
                 {"evaluations", int64_t(edit.value.loss.size())},
                 {"loss", edit.value.loss},
                 {"target_probability_first", edit.value.target_probability.front()},
                 {"target_probability_last", edit.value.target_probability.back()},
                 {"kl_last", edit.value.kl.back()},
                 {"key_norm", k_star.norm().item<double>()},
                 {"u_dot_k", uk},
                 {"delta_norm", delta.norm().item<double>()},
                 {"value_norm", edit.value.before_D.norm().item<double>()},
                 {"change_norm", change},
                 {"relative_change", change / model.down_OI(options.value.layer).norm().item<double>()},
                 {"condition", moment != nullptr ? Json(moment->condition()) : Json(nullptr)},
                 {"ridge", moment != nullptr ? Json(moment->ridge()) : Json(nullptr)}};
  return edit;
}

}  // namespace suture::methods
