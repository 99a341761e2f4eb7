// SPDX-License-Identifier: Apache-2.0
#include "report/document.h"

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"

namespace suture::report {
namespace {

// Valid UTF-8, whatever came in: nlohmann's writer replaces what is broken, its reader gives the text back.
std::string sound(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

std::string sign(Tone tone) { return tone == Tone::kGood ? "✓ " : tone == Tone::kBad ? "✗ " : ""; }

// ---- Markdown ----

std::string md(const std::string& text) {
  std::string out;
  for (const char c : sound(text)) {
    if (std::string_view("\\`*_<>[]|#~").find(c) != std::string_view::npos) out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

struct Markdown {
  std::string chart_folder;
  std::string operator()(const Heading& h) const {
    return std::string(static_cast<size_t>(h.level), '#') + " " + md(h.text) + "\n\n";
  }
  std::string operator()(const Paragraph& p) const { return md(p.text) + "\n\n"; }
  std::string operator()(const Headline& v) const { return "**" + sign(v.tone) + md(v.text) + "**\n\n"; }
  std::string operator()(const KeyValues& k) const {
    std::string out;
    for (const auto& [key, value] : k.entries) out += fmt::format("- **{}**: {}\n", md(key), md(value));
    return out + "\n";
  }
  std::string operator()(const List& list) const {
    std::string out;
    for (const std::string& item : list.items) out += "- " + md(item) + "\n";
    return out + "\n";
  }
  std::string operator()(const Code& code) const {
    std::string fence = "```";
    while (code.text.find(fence) != code.text.npos) fence += '`';
    return fmt::format("{}{}\n{}\n{}\n\n", fence, code.language, sound(code.text), fence);
  }
  std::string operator()(const Table& table) const {
    std::string head = "|", rule = "|", body;
    for (const Column& column : table.columns) {
      head += " " + md(column.title) + " |";
      rule += column.align == Align::kRight ? " ---: |" : " --- |";
    }
    for (const auto& row : table.rows) {
      body += "|";
      for (size_t i = 0; i < table.columns.size(); ++i)
        body += " " + (i < row.size() ? md(sign(row[i].tone) + row[i].text) : "") + " |";
      body += "\n";
    }
    return (table.caption.empty() ? "" : md(table.caption) + "\n\n") + head + "\n" + rule + "\n" + body + "\n";
  }
  std::string operator()(const Chart& chart) const {
    return fmt::format("![{}]({}/{}.svg)\n\n{}", md(chart.title), chart_folder, chart.name,
                       chart.description.empty() ? "" : md(chart.description) + "\n\n");
  }
  std::string operator()(const Details& details) const {
    std::string out = "<details><summary>" + escaped(sound(details.summary)) + "</summary>\n\n";
    for (const Block& block : details.blocks) out += std::visit(*this, block.value);
    return out + "</details>\n\n";
  }
};

// ---- HTML ----

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--ground:#fff;--line:#d0d7de;--panel:#f6f8fa;--good:#00664d;--bad:#a33a00}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--ground:#0d1117;--line:#30363d;--panel:#161b22;--good:#4fd1a5;--bad:#ff9a5c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;color:var(--ink);background:var(--ground);overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}h3{font-size:1.05rem;margin-top:1.5rem}
.verdict{border-left:.4rem solid var(--soft);background:var(--panel);padding:.7rem 1rem;font-weight:600}
.verdict.good{border-color:var(--good)}.verdict.bad{border-color:var(--bad)}
.good{color:var(--good)}.bad{color:var(--bad)}.faint{color:var(--soft)}.verdict.good,.verdict.bad{color:var(--ink)}
.box{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;white-space:nowrap;overflow-wrap:normal}
td.wide{white-space:normal;min-width:14rem}
tr>:first-child{position:sticky;left:0;background:var(--ground)}
thead th{border-bottom:2px solid var(--line)}th.right,td.right{text-align:right}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;margin:1rem 0}dt{color:var(--soft)}dd{margin:0;min-width:0}
figure{margin:1.2rem 0}figure svg{width:100%;max-width:36rem;height:auto;display:block}figcaption{color:var(--soft);font-size:.9rem}
pre{background:var(--panel);padding:.8rem;overflow-x:auto;font-size:.85rem;overflow-wrap:normal}
details{border:1px solid var(--line);border-radius:.3rem;padding:.4rem .8rem;margin:.8rem 0}summary{cursor:pointer;font-weight:600}
@media (max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
@media print{:root{--ink:#000;--soft:#444;--ground:#fff;--line:#999;--panel:#fff}body{max-width:none;font-size:11pt;padding:0}.box{overflow:visible}
th,td{white-space:normal;padding:.25rem .4rem}figure,tr,.verdict{break-inside:avoid}h2,h3{break-after:avoid}figure svg{max-width:13cm;max-height:19cm}pre{white-space:pre-wrap}
details::details-content{content-visibility:visible;display:block;height:auto}details>*{display:block}}
)css";

std::string html(const std::string& text) { return escaped(sound(text)); }

std::string tone_class(Tone tone) {
  return tone == Tone::kGood ? "good" : tone == Tone::kBad ? "bad" : tone == Tone::kFaint ? "faint" : "";
}

struct Html {
  std::string operator()(const Heading& h) const { return fmt::format("<h{0}>{1}</h{0}>\n", h.level, html(h.text)); }
  std::string operator()(const Paragraph& p) const { return "<p>" + html(p.text) + "</p>\n"; }
  std::string operator()(const Headline& v) const {
    return fmt::format("<p class=\"verdict {}\">{}{}</p>\n", tone_class(v.tone), sign(v.tone), html(v.text));
  }
  std::string operator()(const KeyValues& k) const {
    std::string out = "<dl>\n";
    for (const auto& [key, value] : k.entries) out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", html(key), html(value));
    return out + "</dl>\n";
  }
  std::string operator()(const List& list) const {
    std::string out = "<ul>\n";
    for (const std::string& item : list.items) out += "<li>" + html(item) + "</li>\n";
    return out + "</ul>\n";
  }
  std::string operator()(const Code& code) const { return "<pre><code>" + html(code.text) + "</code></pre>\n"; }
  std::string operator()(const Table& table) const {
    std::string out = table.caption.empty() ? "" : "<p class=\"faint\">" + html(table.caption) + "</p>\n";
    out += "<div class=\"box\" tabindex=\"0\"><table>\n";
    out += "<thead><tr>";
    for (const Column& column : table.columns)
      out += fmt::format("<th scope=\"col\"{}>{}</th>", column.align == Align::kRight ? " class=\"right\"" : "",
                         html(column.title));
    out += "</tr></thead>\n<tbody>\n";
    for (const auto& row : table.rows) {
      out += "<tr>";
      for (size_t i = 0; i < table.columns.size(); ++i)
        out += i < row.size() ? cell_html(row[i], table.columns[i].align) : "<td></td>";
      out += "</tr>\n";
    }
    return out + "</tbody></table></div>\n";
  }
  static std::string cell_html(const Cell& c, Align align) {
    constexpr size_t kWide = 48;  // longer texts may wrap
    std::string classes = tone_class(c.tone);
    if (align == Align::kRight) classes += classes.empty() ? "right" : " right";
    if (c.text.size() > kWide) classes += classes.empty() ? "wide" : " wide";
    return fmt::format("<td{}>{}{}</td>", classes.empty() ? "" : " class=\"" + classes + "\"", sign(c.tone),
                       html(c.text));
  }
  std::string operator()(const Chart& chart) const {
    const std::string caption =
        chart.description.empty() ? "" : "<figcaption>" + html(chart.description) + "</figcaption>";
    return "<figure>" + sound(to_inline_svg(chart)) + caption + "</figure>\n";
  }
  std::string operator()(const Details& details) const {
    std::string out = "<details><summary>" + html(details.summary) + "</summary>\n";
    for (const Block& block : details.blocks) out += std::visit(*this, block.value);
    return out + "</details>\n";
  }
};

void collect(const std::vector<Block>& blocks, std::vector<const Chart*>& charts) {
  for (const Block& block : blocks) {
    if (const auto* chart = std::get_if<Chart>(&block.value)) charts.push_back(chart);
    if (const auto* details = std::get_if<Details>(&block.value)) collect(details->blocks, charts);
  }
}

}  // namespace

std::string to_markdown(const Document& document, const std::string& chart_folder) {
  std::string out = "# " + md(document.title) + "\n\n";
  for (const Block& block : document.blocks) out += std::visit(Markdown{chart_folder}, block.value);
  return out.substr(0, out.find_last_not_of('\n') + 1) + "\n";
}

std::string to_html(const Document& document) {
  std::string body;
  for (const Block& block : document.blocks) body += std::visit(Html{}, block.value);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n{2}</main>\n</body>\n</html>\n",
      html(document.title), kStyle, body);
}

std::vector<std::filesystem::path> write_charts(const Document& document, const std::filesystem::path& folder) {
  std::vector<const Chart*> charts;
  collect(document.blocks, charts);
  std::vector<std::filesystem::path> paths;
  for (const Chart* chart : charts) {
    paths.push_back(folder / (chart->name + ".svg"));
    write_atomically(paths.back(), to_svg(*chart));
  }
  return paths;
}

}  // namespace suture::report
