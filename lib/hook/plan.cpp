// SPDX-License-Identifier: Apache-2.0
#include "hook/plan.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <charconv>

#include "core/digest.h"

namespace suture::hook {
namespace {

constexpr std::array<std::pair<std::string_view, Action>, 4> kActions = {
    {{"add", Action::kAdd}, {"set", Action::kSet}, {"project_out", Action::kProjectOut}, {"to_norm", Action::kToNorm}}};

std::string vector_digest(const at::Tensor& vector) {
  const at::Tensor flat = vector.to(at::kCPU, at::kFloat).contiguous();
  return sha256(std::as_bytes(std::span(flat.const_data_ptr<float>(), size_t(flat.numel()))));
}

bool acts_on(const Where& where, int64_t row, int64_t position, int64_t prompt) {
  if (position < 0) return false;
  switch (where.kind) {
    case Where::Kind::kAll:
      return true;
    case Where::Kind::kLast:
      return position >= prompt - 1;
    case Where::Kind::kLastFirst:
      return position >= prompt - 1 && position < prompt + where.count;
    case Where::Kind::kIndex:
      return position == where.index[where.index.size() == 1 ? 0 : size_t(row)];
    case Where::Kind::kPrompt:
      return position < prompt;
    case Where::Kind::kGenerated:
      return position >= prompt;
    case Where::Kind::kStep:
      return position == prompt - 1 + where.count;
  }
  fail(Code::kBug, "unknown kind of tokens");
}

// Token numbers are given a row of the whole batch.
Where of_kept(Where where, const std::vector<int64_t>& kept) {
  if (kept.empty() || where.index.size() < 2) return where;
  std::vector<int64_t> index;
  for (const int64_t row : kept) index.push_back(where.index.at(size_t(row)));
  where.index = std::move(index);
  return where;
}

int64_t number_in(std::string_view text, std::string_view whole) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    fail(Code::kConfig, "cannot read tokens '{}': '{}' is not a count", whole, text);
  return value;
}

}  // namespace

at::Tensor Where::mask_BT(const Tokens& tokens) const {
  const int64_t rows = tokens.rows(), width = tokens.width();
  if (kind == Kind::kIndex && index.size() != 1 && int64_t(index.size()) != rows)
    fail(Code::kConfig, "cannot act on tokens '{}': {} numbers for {} texts; give one, or one a text", text(),
         index.size(), rows);
  at::Tensor mask = at::zeros({rows, width}, at::kBool);
  const int64_t* position = tokens.position_BT.const_data_ptr<int64_t>();
  bool* out = mask.mutable_data_ptr<bool>();
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t t = 0; t < width; ++t)
      out[b * width + t] = acts_on(*this, b, position[b * width + t], tokens.prompt_length[size_t(b)]);
  return mask;
}

std::string Where::text() const {
  switch (kind) {
    case Kind::kAll:
      return "all";
    case Kind::kLast:
      return "last";
    case Kind::kLastFirst:
      return fmt::format("last+{}", count);
    case Kind::kIndex:
      return fmt::format("index {}", fmt::join(index, ","));
    case Kind::kPrompt:
      return "prompt";
    case Kind::kGenerated:
      return "generated";
    case Kind::kStep:
      return fmt::format("step {}", count);
  }
  fail(Code::kBug, "unknown kind of tokens");
}

Where Where::parse(std::string_view text) {
  if (text == "all") return {Kind::kAll, 0, {}};
  if (text == "last") return {Kind::kLast, 0, {}};
  if (text == "prompt") return {Kind::kPrompt, 0, {}};
  if (text == "generated") return {Kind::kGenerated, 0, {}};
  if (text.starts_with("last+")) return {Kind::kLastFirst, number_in(text.substr(5), text), {}};
  if (text.starts_with("step ")) return {Kind::kStep, number_in(text.substr(5), text), {}};
  if (text.starts_with("index ")) {
    Where where{Kind::kIndex, 0, {}};
    for (std::string_view rest = text.substr(6); !rest.empty();) {
      const size_t comma = std::min(rest.find(','), rest.size());
      where.index.push_back(number_in(rest.substr(0, comma), text));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    if (!where.index.empty()) return where;
  }
  fail(Code::kConfig, "cannot read tokens '{}': use all, last, last+N, step N, prompt, generated or index N[,N...]",
       text);
}

std::string_view name(Action action) { return kActions[size_t(action)].first; }

std::optional<Action> action_from(std::string_view text) {
  for (const auto& [spelling, action] : kActions)
    if (spelling == text) return action;
  return std::nullopt;
}

bool Intervention::operator==(const Intervention& other) const {
  return at == other.at && where == other.where && action == other.action && scale == other.scale &&
         vector_D.equal(other.vector_D);
}

Json Intervention::to_json() const {
  return {{"site", name(at.site)},  {"layer", at.layer},
          {"tokens", where.text()}, {"action", name(action)},
          {"scale", scale},         {"norm", vector_D.norm().item<double>()},
          {"vector", label},        {"sha256", vector_digest(vector_D)}};
}

Json Gate::to_json() const {
  return {{"site", name(at.site)},  {"layer", at.layer}, {"bias", bias},
          {"threshold", threshold}, {"vector", label},   {"sha256", vector_digest(weight_D)}};
}

Json Plan::to_json() const {
  Json json = {{"interventions", Json::array()}, {"gate", nullptr}};
  for (const Intervention& intervention : interventions) json["interventions"].push_back(intervention.to_json());
  if (gate) json["gate"] = gate->to_json();
  return json;
}

std::string Plan::digest() const { return sha256(to_json().dump()); }

std::string Plan::text() const {
  std::string out;
  if (gate)
    out += fmt::format("gate {} {}: acts on a row when its last prompt token scores above {:.4g}\n",
                       name(gate->at.site), gate->at.layer, gate->threshold);
  for (const Intervention& i : interventions)
    out += fmt::format("{} {:.4g} x {} (norm {:.4g}) at {} {}, tokens {}\n", name(i.action), i.scale, i.label,
                       i.vector_D.norm().item<double>(), name(i.at.site), i.at.layer, i.where.text());
  return out;
}

void Plan::check(int64_t layers, const std::function<int64_t(Site)>& width) const {
  const auto check_point = [&](Point at, const at::Tensor& vector, std::string_view what) {
    const bool layered = at.site != Site::kEmbed && at.site != Site::kFinalNorm;
    if (at.layer < 0 || at.layer >= (layered ? layers : 1))
      fail(Code::kModel, "cannot put {} at {} {}: model has layers 0..{}", what, name(at.site), at.layer, layers - 1);
    if (vector.dim() != 1 || vector.numel() != width(at.site))
      fail(Code::kModel, "cannot put {} at {} {}: vector has {} numbers, the site is {} wide", what, name(at.site),
           at.layer, vector.numel(), width(at.site));
  };
  for (const Intervention& i : interventions) {
    check_point(i.at, i.vector_D, fmt::format("'{}'", i.label));
    if (i.where.kind == Where::Kind::kPrompt && gate)
      fail(Code::kModel, "cannot gate '{}': the gate is read at the last prompt token, after the prompt was processed",
           i.label);
    if (gate && i.at.site != Site::kFinalNorm && (i.at.site == Site::kEmbed || i.at.layer <= gate->at.layer))
      fail(Code::kModel, "cannot gate '{}' at layer {}: the gate reads layer {} and can only decide about later layers",
           i.label, i.at.layer, gate->at.layer);
  }
  if (gate) check_point(gate->at, gate->weight_D, "a gate");
}

PlanRun::PlanRun(Plan plan) : plan_(std::move(plan)) {}

bool PlanRun::wants(Point point) const {
  if (plan_.gate && plan_.gate->at == point) return true;
  for (const Intervention& i : plan_.interventions)
    if (i.at == point && (i.scale != 0 || i.action == Action::kSet || i.action == Action::kToNorm)) return true;
  return false;
}

at::Tensor PlanRun::apply(Point point, at::Tensor x, const Tokens& tokens) {
  if (plan_.gate && plan_.gate->at == point) decide(x, tokens);
  for (const Intervention& i : plan_.interventions) {
    if (i.at != point || (i.scale == 0 && i.action != Action::kSet && i.action != Action::kToNorm)) continue;
    at::Tensor mask = of_kept(i.where, kept_).mask_BT(tokens);
    if (plan_.gate) close(mask, tokens);
    const int64_t count = mask.sum().item<int64_t>();
    applied_ += count;
    if (count > 0) x = act(i, x, mask.unsqueeze(-1).to(x.device()));
  }
  return x;
}

void PlanRun::close(at::Tensor& mask_BT, const Tokens& tokens) const {
  const int64_t* position = tokens.position_BT.const_data_ptr<int64_t>();
  bool* mask = mask_BT.mutable_data_ptr<bool>();
  for (int64_t b = 0; b < tokens.rows(); ++b)
    for (int64_t t = 0, i = b * tokens.width(); t < tokens.width(); ++t, ++i)
      mask[i] = mask[i] && open_[size_t(b)] && position[i] >= tokens.prompt_length[size_t(b)] - 1;
}

void PlanRun::decide(const at::Tensor& x, const Tokens& tokens) {
  const int64_t rows = tokens.rows(), width = tokens.width();
  if (open_.size() != size_t(rows)) {  // a new batch
    open_.assign(size_t(rows), 0);
    scores_.assign(size_t(rows), 0);
  }
  const int64_t* position = tokens.position_BT.const_data_ptr<int64_t>();
  const at::Tensor weight = plan_.gate->weight_D.to(x.device());
  for (int64_t b = 0; b < rows; ++b)
    for (int64_t t = 0; t < width; ++t)
      if (position[b * width + t] == tokens.prompt_length[size_t(b)] - 1) {
        const double score = at::matmul(x[b][t].to(at::kFloat), weight).item<double>() + plan_.gate->bias;
        scores_[size_t(b)] = score;
        open_[size_t(b)] = score > plan_.gate->threshold;
      }
}

at::Tensor PlanRun::act(const Intervention& i, const at::Tensor& x, const at::Tensor& mask_BT1) const {
  const at::Tensor v = i.vector_D.to(x.device());
  const at::Tensor x32 = x.to(at::kFloat);
  at::Tensor changed;
  switch (i.action) {
    case Action::kAdd:
      changed = x32 + v * i.scale;
      break;
    case Action::kSet:
      changed = (v * i.scale).expand_as(x32);
      break;
    case Action::kProjectOut: {
      const at::Tensor unit = v / v.norm();
      changed = x32 - i.scale * at::matmul(x32, unit).unsqueeze(-1) * unit;
      break;
    }
    case Action::kToNorm:
      changed = x32 * (i.scale * v.norm() / x32.norm(2, -1, true));
      break;
  }
  return at::where(mask_BT1, changed.to(x.scalar_type()), x);
}

void PlanRun::keep_rows(const std::vector<int64_t>& rows) {
  std::vector<int64_t> kept;
  for (const int64_t row : rows) kept.push_back(kept_.empty() ? row : kept_[size_t(row)]);
  kept_ = std::move(kept);
  if (open_.empty()) return;
  std::vector<char> open;
  std::vector<double> scores;
  for (const int64_t row : rows) {
    open.push_back(open_[size_t(row)]);
    scores.push_back(scores_[size_t(row)]);
  }
  open_ = std::move(open);
  scores_ = std::move(scores);
}

}  // namespace suture::hook
