// SPDX-License-Identifier: Apache-2.0
#include "methods/residual_difference.h"

#include <ATen/TensorOperators.h>

#include "steps/collect.h"

namespace suture::methods {

std::map<int64_t, at::Tensor> residual_difference(const model::Transformer& model, const std::vector<std::vector<int32_t>>& with,
                                                  const std::vector<std::vector<int32_t>>& without, const std::vector<int64_t>& layers) {
  std::vector<hook::Point> points;
  for (const int64_t layer : layers) points.push_back({hook::Site::kResidOut, layer});
  const auto shown = steps::last_token_activations(model, with, points, "with demonstrations");
  const auto bare = steps::last_token_activations(model, without, points, "without demonstrations");
  std::map<int64_t, at::Tensor> difference;
  for (const hook::Point& point : points) difference[point.layer] = shown.at(point).mean(0) - bare.at(point).mean(0);
  return difference;
}

}  // namespace suture::methods
