// SPDX-License-Identifier: Apache-2.0
#include "methods/guided_decoding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "core/error.h"

namespace suture::methods {

at::Tensor guided_log_probs(const at::Tensor& log_p, const at::Tensor& log_u, double lambda) {
  if (!(lambda >= 0 && lambda < 1)) fail(Code::kConfig, "cannot guide with lambda {}: it must lie in [0, 1)", lambda);
  if (log_p.size(-1) != log_u.size(-1))
    fail(Code::kModel, "cannot guide: the model has {} tokens in its vocabulary, the harmful model {}", log_p.size(-1),
         log_u.size(-1));
  if (log_p.scalar_type() != at::kFloat && log_p.scalar_type() != at::kDouble)
    fail(Code::kBug, "guided decoding needs fp32 or fp64");
  if (lambda == 0) return log_p;
  const double power = lambda / (1 - lambda);
  // A token that p excludes stays excluded, whatever u says (−inf − −inf would be NaN); one that only u excludes is not
  // vetoed.
  const at::Tensor veto = at::where(log_p.isinf(), at::zeros_like(log_p), (log_p - log_u).clamp_max(0));
  return at::log_softmax(log_p + power * veto, -1);
}

}  // namespace suture::methods
