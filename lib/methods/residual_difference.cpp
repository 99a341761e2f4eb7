// SPDX-License-Identifier: Apache-2.0
#include "methods/residual_difference.h"

#include <ATen/TensorOperators.h>

namespace suture::methods {

std::map<int64_t, at::Tensor> residual_difference(const std::map<hook::Point, at::Tensor>& with,
                                                  const std::map<hook::Point, at::Tensor>& without,
                                                  const std::vector<int64_t>& layers) {
  std::map<int64_t, at::Tensor> difference;
  for (const int64_t layer : layers) {
    const hook::Point point{hook::Site::kResidOut, layer};
    difference[layer] = with.at(point).mean(0) - without.at(point).mean(0);
  }
  return difference;
}

}  // namespace suture::methods
