// SPDX-License-Identifier: Apache-2.0
// Interventions as values, and the run that applies them.
//
// An intervention says where (point and tokens), what (action) and how much (scale). A plan is an ordered list of them,
// optionally behind a gate that decides per row, from the last prompt token, whether the row is touched at all.
// Values compare, print, serialise and hash by content. `PlanRun` holds what one generation needs on top: gate
// decisions a row and a count of applications.
#pragma once
#include <memory>

#include "core/json.h"
#include "hook/hooks.h"

namespace suture::hook {

struct Where {
  enum class Kind {
    kAll,        // every token
    kLast,       // last prompt token and every generated token (what SafeInfer's code does, on every row)
    kLastFirst,  // last prompt token and the first `count` generated tokens
    kIndex,      // token `index[row]`, or index[0] for every row
    kPrompt,     // prompt tokens only
    kGenerated,  // generated tokens only
    kStep,       // one token: the last prompt token for count 0, the count-th generated one after that
  };
  Kind kind = Kind::kAll;
  int64_t count = 0;
  std::vector<int64_t> index;
  bool operator==(const Where&) const = default;

  // 1 where the intervention acts, else 0; padding is always 0. bool [B,T] on the CPU. Error(kConfig) when `index` is
  // neither one number nor one a row.
  at::Tensor mask_BT(const Tokens& tokens) const;
  std::string text() const;                   // "all", "last", "last+4", "index 3", "prompt", "generated", "step 2"
  static Where parse(std::string_view text);  // inverse of text(); Error(kConfig) lists the spellings
};

// x is the activation of one token (a vector), v the stored vector, s the scale.
enum class Action {
  kAdd,         // x + s·v
  kSet,         // v·s
  kProjectOut,  // x − s·(x·v̂)v̂
  kToNorm,      // x·(s·‖v‖/‖x‖): keeps the direction, sets the length
};
std::string_view name(Action action);
std::optional<Action> action_from(std::string_view name);

struct Intervention {
  Point at;
  Where where;
  Action action = Action::kAdd;
  double scale = 1;
  at::Tensor vector_D;  // fp32, contiguous, width of the site
  std::string label;    // where the vector came from: "store.h5:name"
  bool operator==(const Intervention& other) const;
  Json to_json() const;  // vector by SHA-256 of its fp32 bytes
};

// A linear probe on the last prompt token at one point: fires when weight·x + bias > threshold. Behind a gate an
// intervention acts from the last prompt token on, whatever its tokens say: earlier ones were processed before it is
// read.
struct Gate {
  Point at{Site::kResidOut, 0};
  at::Tensor weight_D;
  double bias = 0;
  double threshold = 0;
  std::string label;
  Json to_json() const;
};

struct Plan {
  std::vector<Intervention> interventions;
  std::optional<Gate> gate;

  bool empty() const { return interventions.empty(); }
  Json to_json() const;
  std::string digest() const;  // of to_json()
  std::string text() const;    // one line an intervention
  // Layers exist, widths fit, the gate lies before everything it decides about. Error(kModel).
  void check(int64_t layers, const std::function<int64_t(Site)>& width) const;
};

class PlanRun : public Hooks {
 public:
  explicit PlanRun(Plan plan);
  bool wants(Point point) const override;
  at::Tensor apply(Point point, at::Tensor x, const Tokens& tokens) override;
  void keep_rows(const std::vector<int64_t>& rows) override;
  int64_t applied() const { return applied_; }                        // (token, intervention) pairs touched so far
  const std::vector<double>& gate_scores() const { return scores_; }  // per present row; empty without a gate
  const std::vector<char>& open() const { return open_; }  // per present row: 1 where the gate let the plan act

 private:
  void decide(const at::Tensor& x, const Tokens& tokens);
  void close(at::Tensor& mask_BT, const Tokens& tokens) const;
  at::Tensor act(const Intervention& intervention, const at::Tensor& x, const at::Tensor& mask_BT1) const;
  Plan plan_;
  std::vector<int64_t> kept_;  // the rows of the batch that are still there; empty: all of them
  std::vector<double> scores_;
  std::vector<char> open_;
  int64_t applied_ = 0;
};

}  // namespace suture::hook
