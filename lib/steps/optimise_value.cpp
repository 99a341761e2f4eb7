// SPDX-License-Identifier: Apache-2.0
#include "steps/optimise_value.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/progress.h"
#include "steps/collect.h"

namespace suture::steps {
namespace {

using hook::Point;
using hook::Site;

// All rows cut at the subject's last token: what lies before is padded on the left, what follows on the right, so that
// column 0 of the suffix is the subject in every row.
struct Aligned {
  model::Batch prefix;  // may be 0 wide
  model::Batch suffix;
};

Aligned align(const std::vector<ValueRow>& rows) {
  int64_t before = 0, after = 0;
  for (const ValueRow& row : rows) {
    before = std::max(before, row.subject);
    after = std::max(after, int64_t(row.ids.size()) - row.subject);
  }
  const int64_t count = int64_t(rows.size());
  const auto blank = [&](int64_t width) {
    return model::Batch{at::zeros({count, width}, at::kLong), {at::full({count, width}, -1, at::kLong), {}}};
  };
  Aligned out{blank(before), blank(after)};
  for (int64_t b = 0; b < count; ++b) {
    const ValueRow& row = rows[size_t(b)];
    const int64_t length = int64_t(row.ids.size());
    for (int64_t t = 0; t < length; ++t) {
      model::Batch& side = t < row.subject ? out.prefix : out.suffix;
      const int64_t column = t < row.subject ? before - row.subject + t : t - row.subject;
      side.ids_BT[b][column] = row.ids[size_t(t)];
      side.tokens.position_BT[b][column] = t;
    }
    out.prefix.tokens.prompt_length.push_back(length);
    out.suffix.tokens.prompt_length.push_back(length);
  }
  return out;
}

// What does not depend on δ.
struct Fixed {
  model::KvCache cache;  // keys and values of the prefix, frozen
  model::Transformer::Geometry geometry;
  hook::Tokens tokens;          // of the suffix
  at::Tensor resid_BTD;         // edited block's input for the suffix
  at::Tensor key_BF, value_BD;  // at the subject
};

Fixed run_below(const model::Transformer& model, const Aligned& rows, int64_t layer) {
  const at::NoGradGuard no_grad;
  const int64_t before = rows.prefix.tokens.width();
  Fixed fixed{
      model.new_cache(rows.suffix.tokens.rows(), std::max<int64_t>(before, 1)), {}, rows.suffix.tokens, {}, {}, {}};
  if (before > 0) model.forward(rows.prefix, &fixed.cache, nullptr);
  fixed.cache.set_frozen(true);
  fixed.geometry = model.geometry(fixed.tokens, &fixed.cache);
  const Point key{Site::kMlpKey, layer}, value{Site::kMlpOut, layer};
  Recorder recorder({key, value}, Recorder::Keep::kEverything);
  fixed.resid_BTD =
      model.blocks(0, layer, model.embed(rows.suffix, nullptr), fixed.tokens, fixed.geometry, &fixed.cache, nullptr);
  model.blocks(layer, layer + 1, fixed.resid_BTD, fixed.tokens, fixed.geometry, &fixed.cache, &recorder);
  fixed.key_BF = recorder.at(key).select(1, 0).clone();
  fixed.value_BD = recorder.at(value).select(1, 0).clone();
  return fixed;
}

// δ on the MLP's output at the subject, which is the first column of every row. Norms and factors between the MLP and
// the residual stream, where a family has them, see it as they see the output.
class AddAtSubject : public hook::Hooks {
 public:
  AddAtSubject(Point point, at::Tensor delta_D) : point_(point), delta_D_(std::move(delta_D)) {}
  bool wants(Point point) const override { return point == point_; }
  at::Tensor apply(Point, at::Tensor x_BTD, const hook::Tokens&) override {
    const at::Tensor at_subject = (x_BTD.select(1, 0) + delta_D_).unsqueeze(1);
    return at::cat({at_subject, x_BTD.narrow(1, 1, x_BTD.size(1) - 1)}, 1);
  }

 private:
  Point point_;
  at::Tensor delta_D_;
};

struct Loss {
  at::Tensor total, nll_B, kl;
};

class Objective {
 public:
  Objective(const model::Transformer& model, const ValueProblem& problem, const ValueOptions& options)
      : model_(model), problem_(problem), options_(options) {
    std::vector<ValueRow> rows = problem.contexts;
    rows.push_back(problem.essence);
    fixed_ = std::make_unique<Fixed>(run_below(model, align(rows), options.layer));
    contexts_ = int64_t(problem.contexts.size());
    for (int64_t b = 0; b < contexts_; ++b) {
      const ValueRow& row = problem.contexts[size_t(b)];
      const int64_t n = int64_t(problem.target.size()), last = int64_t(row.ids.size()) - row.subject;
      for (int64_t i = 0; i < n; ++i) {
        row_.push_back(b);
        column_.push_back(last - n + i);
        target_.push_back(problem.target[size_t(i)]);
      }
    }
    row_.push_back(contexts_);  // the essence row, at the subject
    column_.push_back(0);
  }

  const Fixed& fixed() const { return *fixed_; }

  Loss operator()(const at::Tensor& delta_D) {
    const int64_t layers = model_.config().layers;
    AddAtSubject add({Site::kMlpOut, options_.layer}, delta_D);
    const at::Tensor x = model_.blocks(options_.layer, layers, fixed_->resid_BTD, fixed_->tokens, fixed_->geometry,
                                       &fixed_->cache, &add);
    const at::Tensor row = at::tensor(row_, at::kLong).to(x.device()),
                     column = at::tensor(column_, at::kLong).to(x.device());
    const at::Tensor picked = x.reshape({-1, x.size(2)}).index_select(0, row * x.size(1) + column);
    const at::Tensor log_p =
        at::log_softmax(model_.head(model_.final_norm(picked, fixed_->tokens, nullptr)).to(at::kFloat), -1);
    const int64_t predictions = log_p.size(0) - 1;
    const at::Tensor target = at::tensor(target_, at::kLong).to(x.device()).unsqueeze(1);
    Loss loss;
    loss.nll_B = -log_p.narrow(0, 0, predictions).gather(1, target).view({contexts_, -1}).mean(1);
    const at::Tensor essence = log_p[predictions];
    if (!essence_before_.defined()) essence_before_ = essence.detach();
    loss.kl = (essence.exp() * (essence - essence_before_)).sum();
    const at::Tensor before = fixed_->value_BD[0];
    loss.total = loss.nll_B.mean() + options_.kl_factor * loss.kl +
                 options_.weight_decay * delta_D.norm() / before.norm().square();
    return loss;
  }

 private:
  const model::Transformer& model_;
  const ValueProblem& problem_;
  const ValueOptions& options_;
  std::unique_ptr<Fixed> fixed_;
  int64_t contexts_ = 0;
  std::vector<int64_t> row_, column_, target_;
  at::Tensor essence_before_;
};

// Kingma & Ba (2015), algorithm 1, with the usual β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
struct Adam {
  at::Tensor m, v;
  int64_t t = 0;
  at::Tensor step(const at::Tensor& x, const at::Tensor& gradient, double rate) {
    if (t++ == 0) {
      m = at::zeros(x.sizes(), x.options());
      v = at::zeros(x.sizes(), x.options());
    }
    m = 0.9 * m + 0.1 * gradient;
    v = 0.999 * v + 0.001 * gradient * gradient;
    const at::Tensor m_hat = m / (1 - std::pow(0.9, double(t))), v_hat = v / (1 - std::pow(0.999, double(t)));
    return x - rate * m_hat / (v_hat.sqrt() + 1e-8);
  }
};

at::Tensor clamped(const at::Tensor& x, double bound) {
  const double norm = x.norm().item<double>();
  return norm > bound ? x * (bound / norm) : x;
}

void check(const model::Transformer& model, const ValueProblem& problem) {
  if (problem.contexts.empty() || problem.target.empty())
    fail(Code::kBug, "value optimisation without contexts or target");
  for (const ValueRow& row : problem.contexts)
    if (row.subject + int64_t(problem.target.size()) > int64_t(row.ids.size()))
      fail(Code::kData, "cannot optimise a value: the subject ends after the prompt's last token");
  if (model.dtype() != at::kFloat) fail(Code::kBug, "value optimisation needs an fp32 model");
}

ValueResult without_steps(const Fixed& fixed, int64_t contexts) {
  ValueResult result;
  result.before_D = fixed.value_BD[0].clone();
  result.keys_NF = fixed.key_BF.narrow(0, 0, contexts).clone();
  result.values_ND = fixed.value_BD.narrow(0, 0, contexts).clone();
  return result;
}

void record(ValueResult& result, const Loss& loss) {
  result.loss.push_back(loss.total.item<double>());
  result.nll.push_back(loss.nll_B.mean().item<double>());
  result.kl.push_back(loss.kl.item<double>());
  result.target_probability.push_back(std::exp(-loss.nll_B[0].item<double>()));
  if (!std::isfinite(result.loss.back()))
    fail(Code::kNumerics, "cannot optimise the value: loss is not a number at step {}", result.loss.size() - 1);
}

}  // namespace

ValueResult optimise_value(const model::Transformer& model, const ValueProblem& problem, const ValueOptions& options) {
  check(model, problem);
  const at::AutoGradMode with_gradients(true);  // the caller may have switched them off
  Objective objective(model, problem, options);
  ValueResult result = without_steps(objective.fixed(), int64_t(problem.contexts.size()));
  const double bound = options.clamp * result.before_D.norm().item<double>();
  at::Tensor delta = at::zeros({result.before_D.size(0)}, result.before_D.options());
  Adam adam;
  for (int64_t step = 0; step < options.steps; ++step) {
    throw_if_interrupted();
    const at::Tensor variable = delta.detach().requires_grad_(true);
    const Loss loss = objective(variable);
    record(result, loss);
    if (result.loss.back() < options.loss_stop || step + 1 == options.steps) break;
    loss.total.backward();
    // ‖δ‖ has no gradient at 0; the reference's autograd gives 0 there, and so does LibTorch's.
    delta = clamped(adam.step(delta, variable.grad(), options.learning_rate), bound);
  }
  result.delta_D = delta;
  return result;
}

}  // namespace suture::steps
