// SPDX-License-Identifier: Apache-2.0
#include "report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace suture::report {
namespace {

constexpr std::array kPalette = {"#0072B2", "#E69F00", "#009E73", "#CC79A7",
                                 "#56B4E9", "#D55E00", "#888888"};                          // Okabe and Ito
constexpr std::array kOnColour = {"#fff", "#000", "#fff", "#000", "#000", "#fff", "#000"};  // text that reads on each
constexpr double kWidth = 400, kPad = 12, kPlotWidth = kWidth - 2 * kPad, kText = 14, kSmall = 12;

std::string colour(size_t i) { return kPalette[i % kPalette.size()]; }

// A drawing that grows downwards.
struct Canvas {
  std::string body;
  double height = 0;

  void text(double x, double y, const std::string& words, double size = kText, const char* anchor = "start",
            const char* style = "") {
    body += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"currentColor\"{}>{}</text>\n", x, y,
        size, anchor, style, escaped(words));
  }
  void line(double x1, double y1, double x2, double y2, const std::string& stroke = "currentColor", double width = 1,
            const char* more = "") {
    body += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-width=\"{}\"{}/>\n", x1, y1,
        x2, y2, stroke, width, more);
  }
  void rect(double x, double y, double w, double h, const std::string& fill, const char* more = "") {
    body += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"{}/>\n", x, y,
                        std::max(w, 0.0), h, fill, more);
  }
};

// Circle, square, triangle, diamond, bar: a shape a series.
void add_mark(Canvas& canvas, size_t series, double x, double y) {
  const std::string paint = fmt::format("fill=\"{}\" stroke=\"currentColor\" stroke-width=\"0.6\"", colour(series));
  switch (series % 5) {
    case 0:
      canvas.body += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" {}/>\n", x, y, paint);
      break;
    case 1:
      canvas.body +=
          fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"8\" height=\"8\" {}/>\n", x - 4, y - 4, paint);
      break;
    case 2:
      canvas.body += fmt::format("<path d=\"M{:.1f} {:.1f}l5 9h-10z\" {}/>\n", x, y - 5, paint);
      break;
    case 3:
      canvas.body += fmt::format("<path d=\"M{:.1f} {:.1f}l5 5.5l-5 5.5l-5-5.5z\" {}/>\n", x, y - 5.5, paint);
      break;
    default:
      canvas.body +=
          fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"4\" height=\"11\" {}/>\n", x - 2, y - 5.5, paint);
  }
}

// Rough width of a text in units; sans-serif letters are about 0.55 em wide.
double text_width(const std::string& words, double size) {
  const auto signs =
      std::count_if(words.begin(), words.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
  return 0.56 * size * static_cast<double>(signs);
}

void add_legend(Canvas& canvas, const std::vector<std::string>& names, bool marks) {
  if (names.size() < 2 && marks) return;
  double x = kPad, y = canvas.height + 12;
  for (size_t i = 0; i < names.size(); ++i) {
    const double width = 18 + text_width(names[i], kSmall) + 10;
    if (x > kPad && x + width > kWidth - kPad) {
      x = kPad;
      y += 17;
    }
    if (marks) {
      add_mark(canvas, i, x + 6, y - 4);
    } else {
      canvas.rect(x, y - 10, 12, 12, colour(i));
    }
    canvas.text(x + 17, y, names[i], kSmall);
    x += width;
  }
  canvas.height = y + 10;
}

double at(const Axis& axis, double value) {
  const double share = (value - axis.low) / (axis.high - axis.low);
  return kPad + std::clamp(share, 0.0, 1.0) * kPlotWidth;
}

std::string tick_text(const Axis& axis, double value) {
  return axis.percent ? fmt::format("{:.0f} %", 100 * value) : fmt::format("{:.3g}", value);
}

void add_axis(Canvas& canvas, const Axis& axis, double top) {
  constexpr int kTicks = 4;
  const double bottom = canvas.height;
  for (int i = 0; i <= kTicks; ++i) {
    const double value = axis.low + (axis.high - axis.low) * i / kTicks, x = at(axis, value);
    canvas.line(x, top, x, bottom, "currentColor", 1, " opacity=\"0.15\"");
    canvas.text(x, bottom + 13, tick_text(axis, value), kSmall, i == 0 ? "start" : i == kTicks ? "end" : "middle");
  }
  canvas.text(kPad + kPlotWidth / 2, bottom + 29, axis.label, kSmall, "middle");
  canvas.height = bottom + 36;
}

void add_whisker(Canvas& canvas, const Axis& axis, const Interval& value, double y,
                 const std::string& stroke = "currentColor") {
  if (value.high <= value.low) return;
  const double left = at(axis, value.low), right = at(axis, value.high);
  canvas.line(left, y, right, y, stroke, 1.6);
  canvas.line(left, y - 4, left, y + 4, stroke, 1.6);
  canvas.line(right, y - 4, right, y + 4, stroke, 1.6);
}

void draw(Canvas& canvas, const Bars& bars) {
  add_legend(canvas, bars.series, false);
  const double top = canvas.height;
  for (const Bars::Group& group : bars.groups) {
    canvas.text(kPad, canvas.height + 15, group.label, kText, "start", " font-weight=\"600\"");
    canvas.height += 20;
    for (size_t i = 0; i < group.values.size(); ++i) {
      const Interval& value = group.values[i];
      const double y = canvas.height;
      canvas.height += 20;
      if (!std::isfinite(value.value)) {
        canvas.text(kPad + 4, y + 13, "no value", kSmall);
        continue;
      }
      const double end = at(bars.axis, value.value);
      canvas.rect(kPad, y, end - kPad, 15, colour(i));
      add_whisker(canvas, bars.axis, value, y + 7.5);
      const std::string label = bars.axis.percent ? percent(value.value).text : number(value.value).text;
      const double beside = std::max(at(bars.axis, value.high), end) + 5, width = text_width(label, kSmall);
      if (beside + width < kWidth) {
        canvas.text(beside, y + 12, label, kSmall);
      } else {
        const std::string ink = fmt::format(" style=\"fill:{}\"", kOnColour[i % kOnColour.size()]);
        canvas.text(kPad + 5, y + 12, label, kSmall, "start", ink.c_str());
      }
    }
    canvas.height += 6;
  }
  add_axis(canvas, bars.axis, top);
}

void draw(Canvas& canvas, const Dots& dots) {
  add_legend(canvas, dots.series, true);
  const double top = canvas.height;
  for (const Bars::Group& row : dots.rows) {
    canvas.text(kPad, canvas.height + 13, row.label, kSmall);
    canvas.height += 18;
    for (size_t i = 0; i < row.values.size(); ++i) {
      const Interval& value = row.values[i];
      if (!std::isfinite(value.value)) continue;
      const double y = canvas.height + 7;
      canvas.height += 13;
      add_whisker(canvas, dots.axis, value, y, colour(i));
      add_mark(canvas, i, at(dots.axis, value.value), y);
    }
    canvas.height += 5;
  }
  add_axis(canvas, dots.axis, top);
}

void draw(Canvas& canvas, const Stack& stack) {
  add_legend(canvas, stack.parts, false);
  for (const Stack::Row& row : stack.rows) {
    double total = 0;
    for (const double amount : row.amounts) total += amount;
    canvas.text(kPad, canvas.height + 14, row.label);
    canvas.height += 19;
    double x = kPad;
    for (size_t i = 0; i < row.amounts.size() && total > 0; ++i) {
      const double width = kPlotWidth * row.amounts[i] / total;
      if (width <= 0) continue;
      canvas.rect(x, canvas.height, width, 20, colour(i), " stroke=\"#fff\" stroke-width=\"1\"");
      const std::string label = fmt::format("{:.4g}", row.amounts[i]),
                        ink = fmt::format(" style=\"fill:{}\"", kOnColour[i % kOnColour.size()]);
      if (width > text_width(label, kSmall) + 4)
        canvas.text(x + width / 2, canvas.height + 14, label, kSmall, "middle", ink.c_str());
      x += width;
    }
    canvas.height += 28;
  }
}

// White at 0, blue at -1, orange at +1.
std::string diverging(double share) {
  const std::array<int, 3> end = share < 0 ? std::array{0, 114, 178} : std::array{213, 94, 0};
  const double t = std::min(std::abs(share), 1.0);
  const auto mix = [&](int channel) { return static_cast<int>(std::lround(255 + (channel - 255) * t)); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(end[0]), mix(end[1]), mix(end[2]));
}

void draw(Canvas& canvas, const Heat& heat) {
  constexpr double kLeft = 38;
  size_t columns = 1;
  double largest = 0;
  for (const auto& row : heat.values) {
    columns = std::max(columns, row.size());
    for (const double value : row) largest = std::isfinite(value) ? std::max(largest, std::abs(value)) : largest;
  }
  const double width = (kWidth - kLeft - kPad) / static_cast<double>(columns), height = std::clamp(width, 9.0, 22.0);
  canvas.text(kPad, canvas.height + 12, fmt::format("{} ↓   {} →", heat.row_label, heat.column_label), kSmall);
  canvas.height += 20;
  for (size_t r = 0; r < heat.values.size(); ++r) {
    const double y = canvas.height + static_cast<double>(r) * height;
    if (height >= 12 || r % 2 == 0) canvas.text(kLeft - 6, y + height / 2 + 4, std::to_string(r), kSmall, "end");
    for (size_t c = 0; c < heat.values[r].size(); ++c) {
      const double value = heat.values[r][c];
      const std::string fill = !std::isfinite(value) || largest == 0 ? "#ffffff" : diverging(value / largest);
      canvas.rect(kLeft + static_cast<double>(c) * width, y, width, height, fill,
                  " stroke=\"#ccc\" stroke-width=\"0.5\"");
    }
  }
  for (const auto& [r, c] : heat.marked) {
    canvas.rect(kLeft + static_cast<double>(c) * width + 1, canvas.height + static_cast<double>(r) * height + 1,
                width - 2, height - 2, "none", " stroke=\"#000\" stroke-width=\"2\"");
  }
  canvas.height += static_cast<double>(heat.values.size()) * height;
  for (size_t c = 0; c<columns; c += columns> 16 ? 4 : 1)
    canvas.text(kLeft + (static_cast<double>(c) + 0.5) * width, canvas.height + 13, std::to_string(c), kSmall,
                "middle");
  canvas.height += 22;
  for (int i = 0; i <= 20; ++i) canvas.rect(kLeft + i * 8.0, canvas.height, 8, 9, diverging(i / 10.0 - 1));
  canvas.text(kLeft, canvas.height + 21, fmt::format("{:.2g}", -largest), kSmall);
  canvas.text(kLeft + 84, canvas.height + 21, "0", kSmall, "middle");
  canvas.text(kLeft + 168, canvas.height + 21, fmt::format("{:.2g}", largest), kSmall, "end");
  canvas.height += 28;
}

void draw(Canvas& canvas, const Lines& lines) {
  std::vector<std::string> names;
  for (const Lines::Series& series : lines.series) names.push_back(series.label);
  add_legend(canvas, names, true);
  constexpr double kHeight = 200;
  const double top = canvas.height + 16, bottom = top + kHeight;
  const auto height_of = [&](double y) {
    return bottom - std::clamp((y - lines.y.low) / (lines.y.high - lines.y.low), 0.0, 1.0) * kHeight;
  };
  for (int i = 0; i <= 4; ++i) {
    const double value = lines.y.low + (lines.y.high - lines.y.low) * i / 4;
    canvas.line(kPad, height_of(value), kWidth - kPad, height_of(value), "currentColor", 1, " opacity=\"0.15\"");
    canvas.text(kPad, height_of(value) - 2, tick_text(lines.y, value), kSmall);
  }
  canvas.text(kWidth - kPad, top - 6, lines.y.label, kSmall, "end");
  for (size_t i = 0; i < lines.series.size(); ++i) {
    std::string path;
    for (const auto& [x, y] : lines.series[i].points) {
      if (std::isfinite(x) && std::isfinite(y))
        path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at(lines.x, x), height_of(y));
    }
    canvas.body += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", path, colour(i));
    for (const auto& [x, y] : lines.series[i].points) {
      if (std::isfinite(x) && std::isfinite(y)) add_mark(canvas, i, at(lines.x, x), height_of(y));
    }
  }
  canvas.height = bottom;
  add_axis(canvas, lines.x, top);
}

// Splits a title into lines of at most 44 letters.
std::vector<std::string> wrapped(const std::string& words) {
  constexpr size_t kMost = 44;
  std::vector<std::string> lines(1);
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find(' ', at), words.size());
    const std::string word = words.substr(at, end - at);
    if (!lines.back().empty() && lines.back().size() + word.size() > kMost) lines.emplace_back();
    lines.back() += (lines.back().empty() ? "" : " ") + word;
    at = end + 1;
  }
  return lines;
}

std::string svg(const Chart& chart, bool whole) {
  Canvas canvas;
  for (const std::string& line : wrapped(chart.title)) {
    canvas.text(kPad, canvas.height + 17, line, 14, "start", " font-weight=\"700\"");
    canvas.height += 19;
  }
  canvas.height += 5;
  std::visit([&](const auto& data) { draw(canvas, data); }, chart.data);
  const std::string place =
      whole ? fmt::format(" xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0f}\" height=\"{:.0f}\" color=\"#222\"",
                          kWidth * 1.5, canvas.height * 1.5)
            : "";
  const std::string ground =
      whole ? fmt::format("<rect width=\"{:.0f}\" height=\"{:.0f}\" fill=\"#fff\"/>\n", kWidth, canvas.height) : "";
  return fmt::format(
      "<svg{} viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\" "
      "font-family=\"system-ui,-apple-system,'Segoe "
      "UI',Helvetica,Arial,sans-serif\">\n<title>{}</title>\n<desc>{}</desc>\n{}{}</svg>\n",
      place, kWidth, canvas.height, escaped(chart.title), escaped(chart.title), escaped(chart.description), ground,
      canvas.body);
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
      case '\t':
        out += c;
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string to_svg(const Chart& chart) { return svg(chart, true); }
std::string to_inline_svg(const Chart& chart) { return svg(chart, false); }

}  // namespace suture::report
