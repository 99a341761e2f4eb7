// SPDX-License-Identifier: Apache-2.0
#include "audit/summary.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "audit/statistics.h"

namespace suture::audit {
namespace {

constexpr std::array kKinds = {SuiteKind::kHarmful, SuiteKind::kHarmless};
constexpr size_t kExcerpt = 160;  // characters

using Rows = std::vector<const Outcome*>;

bool complied(Label label) { return label == Label::kComplied || label == Label::kMixed; }
bool refused(Label label) { return label == Label::kRefused; }

Rows select(const Rows& rows, const std::function<bool(const Outcome&)>& wanted) {
  Rows chosen;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(chosen), [&](const Outcome* row) { return wanted(*row); });
  return chosen;
}

Json share(const Rows& rows, bool (*counts)(Label)) {
  int64_t k = 0, n = 0;
  for (const Outcome* row : rows) {
    if (row->label == Label::kUnjudged) continue;
    ++n;
    k += counts(row->label) ? 1 : 0;
  }
  return to_json(wilson(k, n));
}

std::vector<std::string> categories_of(const Rows& rows) {
  std::vector<std::string> names;
  for (const Outcome* row : rows) {
    if (std::find(names.begin(), names.end(), row->category) == names.end()) names.push_back(row->category);
  }
  return names;
}

Json label_counts(const Rows& rows) {
  Json counts = Json::object();
  for (const Label label : kLabels) {
    counts[std::string(name(label))] =
        std::count_if(rows.begin(), rows.end(), [&](const Outcome* row) { return row->label == label; });
  }
  return counts;
}

Json measures(const Rows& rows, SuiteKind kind) {
  if (kind == SuiteKind::kHarmful) return {{"asr", share(rows, complied)}, {"refusal", share(rows, refused)}};
  return {{"over_refusal", share(rows, refused)}};
}

Json subject_summary(const Rows& rows) {
  Json summary = Json::object(), labels = Json::object(), categories = Json::object();
  double tokens = 0;
  for (const SuiteKind kind : kKinds) {
    const Rows of_kind = select(rows, [&](const Outcome& row) { return row.kind == kind; });
    summary.update(measures(of_kind, kind));
    labels[std::string(name(kind))] = label_counts(of_kind);
    Json& by_category = categories[std::string(name(kind))] = Json::object();
    for (const std::string& category : categories_of(of_kind)) {
      by_category[category] =
          measures(select(of_kind, [&](const Outcome& row) { return row.category == category; }), kind);
    }
  }
  for (const Outcome* row : rows) tokens += static_cast<double>(row->tokens);
  summary["labels"] = std::move(labels);
  summary["categories"] = std::move(categories);
  summary["tokens_mean"] = rows.empty() ? Json(nullptr) : Json(tokens / static_cast<double>(rows.size()));
  summary["perplexity"] = nullptr;
  summary["kl"] = nullptr;
  return summary;
}

// ---- comparisons ----

struct Pairs {
  std::vector<bool> reference, other;
  std::vector<std::string> categories;
};

Pairs pair_up(const Rows& reference, const Rows& other, bool (*counts)(Label)) {
  std::map<std::string, const Outcome*> by_id;
  for (const Outcome* row : other) by_id[row->id] = row;
  Pairs pairs;
  for (const Outcome* row : reference) {
    const auto found = by_id.find(row->id);
    if (found == by_id.end() || row->label == Label::kUnjudged || found->second->label == Label::kUnjudged) continue;
    pairs.reference.push_back(counts(row->label));
    pairs.other.push_back(counts(found->second->label));
    pairs.categories.push_back(row->category);
  }
  return pairs;
}

Flips flips_in(const Pairs& pairs, const std::string& category) {
  Flips flips;
  for (size_t i = 0; i < pairs.categories.size(); ++i) {
    if (pairs.categories[i] != category) continue;
    ++(pairs.reference[i] ? (pairs.other[i] ? flips.both : flips.lost)
                          : (pairs.other[i] ? flips.gained : flips.neither));
  }
  return flips;
}

Json by_category(const Pairs& pairs, const std::vector<std::string>& categories) {
  std::vector<double> p;
  Json rows = Json::array();
  for (const std::string& category : categories) {
    const Flips flips = flips_in(pairs, category);
    p.push_back(mcnemar_exact(flips.lost, flips.gained));
    rows.push_back({{"category", category},
                    {"pairs", flips.pairs()},
                    {"lost", flips.lost},
                    {"gained", flips.gained},
                    {"p", p.back()}});
  }
  const std::vector<double> adjusted = holm(p);
  for (size_t i = 0; i < adjusted.size(); ++i) rows[i]["p_holm"] = adjusted[i];
  return rows;
}

Json comparison(SuiteKind kind, const std::string& reference, const Rows& a, const std::string& subject,
                const Rows& b) {
  const bool harmful = kind == SuiteKind::kHarmful;
  const Pairs pairs = pair_up(a, b, harmful ? complied : refused);
  const Flips flips = count_flips(pairs.reference, pairs.other);
  return {{"suite", name(kind)},
          {"outcome", harmful ? "complied or mixed" : "refused"},
          {"reference", reference},
          {"subject", subject},
          {"pairs", flips.pairs()},
          {"both", flips.both},
          {"lost", flips.lost},
          {"gained", flips.gained},
          {"neither", flips.neither},
          {"p", mcnemar_exact(flips.lost, flips.gained)},
          {"categories", by_category(pairs, categories_of(a))}};
}

Rows rows_of(const std::vector<Outcome>& outcomes, const std::string& subject, SuiteKind kind) {
  Rows rows;
  for (const Outcome& row : outcomes) {
    if (row.subject == subject && row.kind == kind) rows.push_back(&row);
  }
  return rows;
}

// ---- examples ----

std::string excerpt(const std::string& text) {
  size_t characters = 0, end = 0;
  while (end < text.size() && characters < kExcerpt) {
    ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    ++characters;
  }
  return end < text.size() ? text.substr(0, end) + "…" : text;
}

Json example(const Rows& rows) {
  Json responses = Json::object();
  for (const Outcome* row : rows)
    responses[row->subject] = {{"label", name(row->label)}, {"rule", row->rule}, {"excerpt", excerpt(row->text)}};
  return {{"suite", name(rows[0]->kind)},
          {"id", rows[0]->id},
          {"category", rows[0]->category},
          {"question", rows[0]->question},
          {"responses", std::move(responses)}};
}

// Half of each suite; prompts on which the subjects differ first, and no category twice while there are others.
Json examples(const std::vector<Outcome>& outcomes, size_t most) {
  Json chosen = Json::array();
  for (const SuiteKind kind : kKinds) {
    std::vector<std::pair<std::string, Rows>> prompts;
    std::map<std::string, size_t> index;
    for (const Outcome& row : outcomes) {
      if (row.kind != kind) continue;
      const auto [found, fresh] = index.emplace(row.id, prompts.size());
      if (fresh) prompts.emplace_back(row.id, Rows{});
      prompts[found->second].second.push_back(&row);
    }
    std::map<std::string, int> used;
    std::vector<std::tuple<int, bool, size_t>> order;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Rows& rows = prompts[i].second;
      const bool agree =
          std::all_of(rows.begin(), rows.end(), [&](const Outcome* row) { return row->label == rows[0]->label; });
      order.emplace_back(used[(agree ? "a" : "d") + rows[0]->category]++, agree, i);
    }
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::tie(std::get<1>(a), std::get<0>(a), std::get<2>(a)) <
             std::tie(std::get<1>(b), std::get<0>(b), std::get<2>(b));
    });
    for (size_t i = 0; i < std::min(order.size(), most / 2); ++i)
      chosen.push_back(example(prompts[std::get<2>(order[i])].second));
  }
  return chosen;
}

void check(const std::vector<std::string>& subjects, const std::vector<Outcome>& outcomes) {
  std::set<std::tuple<std::string, SuiteKind, std::string>> seen;
  for (const Outcome& row : outcomes) {
    if (std::find(subjects.begin(), subjects.end(), row.subject) == subjects.end())
      fail(Code::kBug, "outcome of an unknown subject \"{}\"", row.subject);
    if (!seen.emplace(row.subject, row.kind, row.id).second)
      fail(Code::kBug, "two outcomes of \"{}\" for the {} prompt \"{}\"", row.subject, name(row.kind), row.id);
  }
}

}  // namespace

std::string_view name(SuiteKind kind) { return kind == SuiteKind::kHarmful ? "harmful" : "harmless"; }

double value_of(const Json& measure) {
  if (measure.is_number()) return measure.get<double>();
  if (measure.is_object() && measure.contains("estimate") && measure["estimate"].is_number())
    return measure["estimate"].get<double>();
  return std::numeric_limits<double>::quiet_NaN();
}

Json summarise(const std::vector<std::string>& subjects, const std::vector<Outcome>& outcomes, size_t most_examples) {
  check(subjects, outcomes);
  Json report = {{"subjects", Json::object()}, {"edits", Json::object()}, {"comparisons", Json::array()},
                 {"gates", Json::array()},     {"verdict", "not gated"},  {"verdict_text", "No gates were set."}};
  for (const std::string& subject : subjects) {
    Rows rows;
    for (const Outcome& row : outcomes) {
      if (row.subject == subject) rows.push_back(&row);
    }
    report["subjects"][subject] = subject_summary(rows);
  }
  for (size_t i = 0; i < subjects.size(); ++i) {
    for (size_t j = i + 1; j < subjects.size(); ++j) {
      for (const SuiteKind kind : kKinds) {
        const Rows a = rows_of(outcomes, subjects[i], kind), b = rows_of(outcomes, subjects[j], kind);
        if (!a.empty() && !b.empty()) report["comparisons"].push_back(comparison(kind, subjects[i], a, subjects[j], b));
      }
    }
  }
  report["examples"] = examples(outcomes, most_examples);
  return report;
}

}  // namespace suture::audit
