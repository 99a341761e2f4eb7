// SPDX-License-Identifier: Apache-2.0
// Batched generation. Prompts are ordered by length, run in batches, and leave the batch as they finish.
#pragma once
#include <functional>
#include <string>

#include "decode/next_token.h"
#include "decode/sampler.h"

namespace suture::decode {

enum class Finish { kStop, kLength };

struct Completion {
  std::vector<int32_t> ids;  // without the stop token
  Finish finish = Finish::kLength;
  bool gate_open = true;  // false when a gate kept the plan from acting on this row
};

struct GenerateOptions {
  int64_t max_new = 64;
  int64_t batch = 32;
  std::vector<int32_t> stop_ids;
  Sampling sampling;
  uint64_t seed = 0;                            // row i samples from the stream (seed, "generate/<i>")
  std::function<void(int64_t tokens)> on_step;  // after every step, with the tokens that it made
};

// `done(i, completion)` is called as rows finish, in no fixed order. Completions are returned in the order of
// `prompts`.
using Done = std::function<void(size_t, const Completion&)>;
std::vector<Completion> generate(NextToken& next, const std::vector<Prompt>& prompts, const GenerateOptions& options,
                                 const Done& done = nullptr);

}  // namespace suture::decode
