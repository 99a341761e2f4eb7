// SPDX-License-Identifier: Apache-2.0
// A report as a value, shown as Markdown or as one self-contained HTML page (no scripts, nothing fetched, everything
// escaped).
//
//   Document document{"Audit of my model"};
//   document.add(Heading{"Results"}).add(table).add(chart);
//   write_atomically(path, to_html(document));
//
// Texts are plain: no markup in them is interpreted. Broken UTF-8 is shown as U+FFFD.
#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "report/chart.h"
#include "report/table.h"

namespace suture::report {

struct Heading {
  std::string text;
  int level = 2;  // 2 or 3; the document's title is level 1
};
struct Paragraph {
  std::string text;
};
struct Headline {  // the headline: coloured, with a sign that needs no colour
  std::string text;
  Tone tone = Tone::kPlain;
};
struct KeyValues {
  std::vector<std::pair<std::string, std::string>> entries;
};
struct List {
  std::vector<std::string> items;
};
struct Code {
  std::string text, language;
};
struct Block;
struct Details {  // folded away on a screen, open on paper
  std::string summary;
  std::vector<Block> blocks;
};
struct Block {
  std::variant<Heading, Paragraph, Headline, KeyValues, List, Code, Table, Chart, Details> value;
};

struct Document {
  std::string title;
  std::vector<Block> blocks;

  template <class T>
  Document& add(T block) {
    blocks.push_back(Block{std::move(block)});
    return *this;
  }
};

// Charts become images in `chart_folder`, a path relative to the Markdown file, as write_charts() names them.
std::string to_markdown(const Document& document, const std::string& chart_folder = "charts");
std::string to_html(const Document& document);

// Writes <name>.svg for each chart below `folder` and returns the paths.
std::vector<std::filesystem::path> write_charts(const Document& document, const std::filesystem::path& folder);

}  // namespace suture::report
