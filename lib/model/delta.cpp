// SPDX-License-Identifier: Apache-2.0
#include "model/delta.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>

#include "tensor/dtype.h"

namespace suture::model {

at::Tensor LowRank::dense() const { return at::matmul(left_OR.to(at::kFloat), right_IR.to(at::kFloat).t()); }

void add_to(const Transformer& model, const std::vector<LowRank>& delta) {
  const at::NoGradGuard no_grad;
  for (const LowRank& factor : delta) {
    if (factor.weight.part != Part::kDown)
      fail(Code::kModel, "cannot change {} of a loaded model", factor.weight.text());
    at::Tensor weight = model.down_OI(factor.weight.layer);
    weight.add_(factor.dense().to(weight.device(), weight.scalar_type()));
  }
}

Applied apply(const Checkpoint& checkpoint, const std::vector<LowRank>& delta) {
  std::map<WeightId, at::Tensor> sums;  // in fp32: several facts in one weight are rounded once
  for (const LowRank& factor : delta) {
    const at::Tensor dense = factor.dense();
    const auto [it, fresh] = sums.try_emplace(factor.weight, dense);
    if (!fresh) it->second = it->second + dense;
  }
  Applied out;
  for (const auto& [id, change] : sums) {
    const std::string name = checkpoint.tensor_name(id);
    const at::Tensor before = checkpoint.weight(id).to(at::kFloat);
    if (before.sizes() != change.sizes())
      fail(Code::kModel, "cannot apply a delta to {}: it is {}x{}, the weight {}x{}", id.text(), change.size(0),
           change.size(1), before.size(0), before.size(1));
    auto [file, fresh] = out.tensors.try_emplace(name);
    if (fresh) file->second = checkpoint.tensor(name).clone();
    const at::Tensor after = (before + change).to(file->second.scalar_type());
    checkpoint.put_weight(file->second, id, after);
    const at::Tensor kept = after.to(at::kFloat) - before;
    const double norm = change.norm().item<double>();
    Rounding rounding{name,
                      tensor::file_spelling(file->second.scalar_type()),
                      norm,
                      norm / before.norm().item<double>(),
                      kept.norm().item<double>() / norm,
                      (kept - change).norm().item<double>() / norm,
                      (kept != 0).sum().item<int64_t>()};
    if (rounding.changed_numbers == 0)
      fail(Code::kNumerics, "cannot write the edit: rounding to {} leaves {} unchanged (change norm {:.3g})",
           rounding.dtype, name, norm);
    out.rounding.push_back(rounding);
  }
  return out;
}

}  // namespace suture::model
