// SPDX-License-Identifier: Apache-2.0
// Where the forward pass can be observed or changed, and the interface through which it asks.
//
// The forward pass calls `x = hooks.apply(point, x, tokens)` at every site for which `wants(point)` is true, and does
// not know what happens there. `Plan` (plan.h) is the implementation users meet; steps/ has a few of its own for
// gradients.
#pragma once
#include <ATen/core/Tensor.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace suture::hook {

// Shape letters: B rows, T tokens of this call, D residual width, H query heads, d head width, F width of the MLP key.
enum class Site {
  kEmbed,      // [B,T,D]  output of the embedding, input of block 0
  kHeadOut,    // [B,T,H·d] per query head, the input of the attention's output projection
  kAttnOut,    // [B,T,D]  output of the attention, before the residual add
  kMlpKey,     // [B,T,F]  input of the MLP's down projection
  kMlpOut,     // [B,T,D]  output of the MLP, before the residual add
  kResidOut,   // [B,T,D]  output of the block
  kFinalNorm,  // [B,T,D]  output of the last norm, input of the language-model head
};

std::string_view name(Site site);
std::optional<Site> site_from(std::string_view name);
std::string site_names();  // for messages

struct Point {
  Site site = Site::kResidOut;
  int64_t layer = 0;  // 0 for embed and final_norm
  auto operator<=>(const Point&) const = default;
};

// The rows and tokens of one call of the forward pass. Padding is known here and nowhere else.
struct Tokens {
  at::Tensor position_BT;              // int64 on the CPU: a token's index in its own row's text; −1 for padding
  std::vector<int64_t> prompt_length;  // per row: tokens of the prompt, generated tokens not counted
  int64_t rows() const { return position_BT.size(0); }
  int64_t width() const { return position_BT.size(1); }
};

class Hooks {
 public:
  virtual ~Hooks() = default;
  virtual bool wants(Point point) const = 0;
  virtual at::Tensor apply(Point point, at::Tensor x, const Tokens& tokens) = 0;
  // Rows that go on after finished ones left the batch, as indices into the present rows.
  virtual void keep_rows(const std::vector<int64_t>&) {}
};

}  // namespace suture::hook
