// SPDX-License-Identifier: Apache-2.0
#include "report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace suture::report {
namespace {

constexpr std::string_view kNoValue = "–";

std::string fixed(double value, int decimals) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  return text.find_first_not_of("-0.") == text.npos && text.starts_with('-') ? text.substr(1) : text;  // no "-0.0"
}

size_t width_of(uint32_t code) {
  const bool combining = code >= 0x300 && code <= 0x36F;
  const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) ||
                    (code >= 0xAC00 && code <= 0xD7A3) || (code >= 0xF900 && code <= 0xFAFF) ||
                    (code >= 0xFF00 && code <= 0xFF60) || code >= 0x1F300;
  return combining ? 0 : wide ? 2 : 1;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    uint32_t code = length == 1 ? lead : lead & (0xFFu >> (length + 1));
    for (size_t k = 1; k < length && i + k < text.size(); ++k)
      code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
    width += width_of(code);
    i += length;
  }
  return width;
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  return text;
}

std::string padded(const std::string& text, size_t width, Align align) {
  const std::string blanks(width - std::min(width, display_width(text)), ' ');
  return align == Align::kLeft ? text + blanks : blanks + text;
}

void add_line(std::string& out, const std::vector<std::string>& cells, const Table& table,
              const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (i > 0) line += "  ";
    line += padded(i < cells.size() ? cells[i] : "", widths[i], table.columns[i].align);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + '\n';
}

}  // namespace

Cell cell(std::string text, Tone tone) { return {std::move(text), tone}; }

Cell number(double value, int decimals) {
  if (!std::isfinite(value)) return {std::string(kNoValue), Tone::kFaint};
  const bool vanishes = value != 0 && std::abs(value) < 0.5 * std::pow(10.0, -decimals);
  return {vanishes ? fmt::format("{:.1e}", value) : fixed(value, decimals)};
}

Cell percent(double share, int decimals) {
  if (!std::isfinite(share)) return {std::string(kNoValue), Tone::kFaint};
  return {fixed(100 * share, decimals) + " %"};
}

Cell percent(const Interval& share, int decimals) {
  if (!std::isfinite(share.value)) return {std::string(kNoValue), Tone::kFaint};
  if (share.low == share.value && share.high == share.value) return percent(share.value, decimals);
  return {fmt::format("{} % [{}, {}]", fixed(100 * share.value, decimals), fixed(100 * share.low, decimals),
                      fixed(100 * share.high, decimals))};
}

Cell interval(const Interval& value, int decimals) {
  if (!std::isfinite(value.value)) return {std::string(kNoValue), Tone::kFaint};
  if (value.low == value.value && value.high == value.value) return number(value.value, decimals);
  return {fmt::format("{} [{}, {}]", fixed(value.value, decimals), fixed(value.low, decimals),
                      fixed(value.high, decimals))};
}

std::string to_text(const Table& table) {
  std::vector<std::vector<std::string>> lines(1);
  for (const Column& column : table.columns) lines[0].push_back(one_line(column.title));
  for (const std::vector<Cell>& row : table.rows) {
    lines.emplace_back();
    for (const Cell& c : row) lines.back().push_back(one_line(c.text));
  }
  std::vector<size_t> widths(table.columns.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < std::min(line.size(), widths.size()); ++i)
      widths[i] = std::max(widths[i], display_width(line[i]));
  }
  std::string out = table.caption.empty() ? "" : one_line(table.caption) + "\n";
  add_line(out, lines[0], table, widths);
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.emplace_back(std::string(width, '-'));
  add_line(out, rule, table, widths);
  for (size_t i = 1; i < lines.size(); ++i) add_line(out, lines[i], table, widths);
  return out;
}

}  // namespace suture::report
