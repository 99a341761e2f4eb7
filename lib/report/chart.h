// SPDX-License-Identifier: Apache-2.0
// Charts as SVG without scripts: narrow enough for a phone (a view box 400 units wide that scales), plain enough for
// paper. Series differ by colour (Okabe and Ito's palette, told apart by colour-blind readers), by shape and by label.
// Values that are not finite leave their place empty.
#pragma once
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "report/table.h"

namespace suture::report {

struct Axis {
  std::string label;
  double low = 0, high = 1;
  bool percent = false;  // ticks as per cent of 1
};

// One bar a group and series, with its interval as a whisker.
struct Bars {
  Axis axis;
  std::vector<std::string> series;
  struct Group {
    std::string label;
    std::vector<Interval> values;  // one a series
  };
  std::vector<Group> groups;
};

// Rows of dots with whiskers; the label stands above its row, so that long ones fit.
struct Dots {
  Axis axis;
  std::vector<std::string> series;
  std::vector<Bars::Group> rows;
};

// Each row split into parts that add up to its length; zero parts are not drawn.
struct Stack {
  std::vector<std::string> parts;
  struct Row {
    std::string label;
    std::vector<double> amounts;  // one a part
  };
  std::vector<Row> rows;
};

// values[row][column]; blue below zero, orange above, white at zero, on a scale symmetric about zero.
struct Heat {
  std::string row_label, column_label;
  std::vector<std::vector<double>> values;
  std::vector<std::pair<size_t, size_t>> marked;  // cells with a frame (row, column)
};

struct Lines {
  Axis x, y;
  struct Series {
    std::string label;
    std::vector<std::pair<double, double>> points;
  };
  std::vector<Series> series;
};

struct Chart {
  std::string name;  // file name stem
  std::string title;
  std::string description;  // what a reader who cannot see the picture should know
  std::variant<Bars, Dots, Stack, Heat, Lines> data;
};

std::string to_svg(const Chart& chart);         // a whole file with a white ground
std::string to_inline_svg(const Chart& chart);  // for an HTML page: text in the page's colour

std::string escaped(const std::string& text);  // for XML and HTML text and attributes; control characters become U+FFFD

}  // namespace suture::report
