// SPDX-License-Identifier: Apache-2.0
// Activations of last prompt tokens.
#pragma once
#include <map>

#include "hook/hooks.h"
#include "model/transformer.h"

namespace suture::steps {

// Keeps, for each of its points, what the forward pass shows there; changes nothing.
class Recorder : public hook::Hooks {
 public:
  enum class Keep { kLastPromptToken, kEverything };
  Recorder(std::vector<hook::Point> points, Keep keep);
  bool wants(hook::Point point) const override;
  at::Tensor apply(hook::Point point, at::Tensor x, const hook::Tokens& tokens) override;
  // kLastPromptToken: rows of all calls so far, [N, width]. kEverything: the last call's [B,T,width].
  at::Tensor at(hook::Point point) const;

 private:
  std::vector<hook::Point> points_;
  Keep keep_;
  std::map<hook::Point, std::vector<at::Tensor>> kept_;
};

// Activation at every point of each prompt's last token, fp32: point → [N, width]. Batches of prompts of like length;
// layers above the last point are not computed.
// `count` last tokens instead of one: point → [N, count, width].
std::map<hook::Point, at::Tensor> last_token_activations(const model::Transformer& model,
                                                         const std::vector<std::vector<int32_t>>& prompts,
                                                         const std::vector<hook::Point>& points, std::string_view what);
std::map<hook::Point, at::Tensor> last_tokens_activations(const model::Transformer& model,
                                                          const std::vector<std::vector<int32_t>>& prompts,
                                                          int64_t count, const std::vector<hook::Point>& points,
                                                          std::string_view what);

}  // namespace suture::steps
