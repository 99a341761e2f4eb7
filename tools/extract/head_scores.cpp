// SPDX-License-Identifier: Apache-2.0
#include "tools/extract/head_scores.h"

#include "report/chart.h"
#include "report/table.h"

namespace suture::cli {
namespace {

std::vector<std::pair<size_t, size_t>> chosen_heads(const io::VectorStore& store) {
  std::vector<std::pair<size_t, size_t>> cells;
  for (const io::StoredVector& vector : store.vectors)
    if (vector.attributes.contains("heads"))
      for (const Json& head : vector.attributes["heads"])
        cells.emplace_back(head["layer"].get<size_t>(), head["head"].get<size_t>());
  return cells;
}

std::string provenance_lines(const Json& provenance) {
  std::string text;
  for (const char* key : {"model", "demonstrations", "queries"})
    if (provenance.contains(key)) {
      const Json& record = provenance[key];
      text += fmt::format("{:<16}{}  {}\n", key, record.value("path", ""),
                          record.value("digest", record.value("sha256", "")).substr(0, 16));
    }
  return text;
}

}  // namespace

std::string show_store(const io::VectorStore& store) {
  std::string text = provenance_lines(store.provenance);
  text += fmt::format("{:<16}{:<11}{:>5}  {:>9}  {:>6}  {:<9}{}\n", "vector", "site", "layer", "norm", "scale",
                      "tokens", "method");
  for (const io::StoredVector& v : store.vectors) {
    text += fmt::format("{:<16}{:<11}{:>5}  {:>9.4g}  {:>6.3g}  {:<9}{}\n", v.name, v.site, v.layer,
                        v.value_D.norm().item<double>(), v.scale, v.where, v.method);
    if (v.attributes.contains("heads")) {
      text += "  heads";
      for (const Json& head : v.attributes["heads"])
        text += fmt::format(" {}.{}{}", head["layer"].get<int64_t>(), head["head"].get<int64_t>(),
                            head["score"].is_null() ? "" : fmt::format(" ({:+.4f})", head["score"].get<double>()));
      text += "\n";
    }
    if (v.attributes.contains("held_out")) {
      const Json& held = v.attributes["held_out"];
      text += fmt::format("  held out: area under ROC {:.4f}, caught {:.3f} of {}, false alarms {:.3f} of {}\n",
                          held["area"].get<double>(), held["caught"].get<double>(), held["harmful"].get<int64_t>(),
                          held["false_alarms"].get<double>(), held["harmless"].get<int64_t>());
    }
  }
  for (const auto& [name, table] : store.tables)
    text += fmt::format("table {} [{}]\n", name, fmt::join(table.sizes(), ", "));
  return text;
}

void write_head_scores(const fs::path& store_path, const io::VectorStore& store) {
  const auto it = store.tables.find("head_scores_LH");
  if (it == store.tables.end()) return;
  const at::Tensor scores = it->second;
  report::Heat heat{"layer", "head", {}, chosen_heads(store)};
  std::string csv = "layer,head,effect\n";
  for (int64_t layer = 0; layer < scores.size(0); ++layer) {
    std::vector<double> row;
    for (int64_t head = 0; head < scores.size(1); ++head) {
      row.push_back(scores[layer][head].item<double>());
      csv += fmt::format("{},{},{:.9g}\n", layer, head, row.back());
    }
    heat.values.push_back(std::move(row));
  }
  const auto beside = [&](const char* ending) { return fs::path(store_path).replace_extension(ending); };
  write_atomically(beside(".heads.csv"), csv);
  const report::Chart chart{"heads", "Effect of each head on the probability of refusing",
                            "Change of the refusal probability when a head's output at the last token is replaced by "
                            "its mean over safe few-shot prompts; framed heads make the vector.",
                            heat};
  write_atomically(beside(".heads.svg"), report::to_svg(chart));
}

}  // namespace suture::cli
