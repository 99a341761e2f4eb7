// SPDX-License-Identifier: Apache-2.0
// Tables of typed cells, the same for terminal, Markdown and HTML. A value that is not finite is shown as "–".
#pragma once
#include <string>
#include <vector>

namespace suture::report {

enum class Tone { kPlain, kGood, kBad, kFaint };
enum class Align { kLeft, kRight };

// A value with the ends of its interval; low = high = value where there is none.
struct Interval {
  double value = 0, low = 0, high = 0;
};

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

Cell cell(std::string text, Tone tone = Tone::kPlain);
Cell number(double value, int decimals = 2);            // fixed decimals; scientific where they would show only zeros
Cell percent(double share, int decimals = 1);           // 0.945 → 94.5 %
Cell percent(const Interval& share, int decimals = 1);  // 94.5 % [88.6, 97.5]
Cell interval(const Interval& value, int decimals = 2);

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

struct Table {
  std::string caption;
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as columns; a shorter row is filled with empty cells
};

// Aligned plain text for a terminal: header, rule, rows, each line ended by a newline. Wide signs count as two columns.
std::string to_text(const Table& table);

}  // namespace suture::report
