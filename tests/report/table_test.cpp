// SPDX-License-Identifier: Apache-2.0
#include "report/table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace suture::report {
namespace {

TEST(Cells, FormatValues) {
  EXPECT_EQ(number(3.14159, 2).text, "3.14");
  EXPECT_EQ(number(-0.0, 1).text, "0.0");
  EXPECT_EQ(number(0.00002, 3).text, "2.0e-05");
  EXPECT_EQ(number(NAN).text, "–");
  EXPECT_EQ(percent(0.945).text, "94.5 %");
  EXPECT_EQ(percent(Interval{0.9, 0.83, 0.9432}).text, "90.0 % [83.0, 94.3]");
  EXPECT_EQ(percent(Interval{NAN, NAN, NAN}).text, "–");
  EXPECT_EQ(interval(Interval{2, 2, 2}).text, "2.00");
  EXPECT_EQ(interval(Interval{2, 1, 3}, 1).text, "2.0 [1.0, 3.0]");
}

TEST(Table, AlignsForTheTerminal) {
  const Table table{"Models",
                    {{"name"}, {"value", Align::kRight}},
                    {{cell("a"), number(1.5, 1)}, {cell("größer"), number(12.25, 2)}, {cell("模型")}}};
  EXPECT_EQ(to_text(table),
            "Models\n"
            "name    value\n"
            "------  -----\n"
            "a         1.5\n"
            "größer  12.25\n"
            "模型\n");
}

TEST(Table, KeepsARowOnOneLine) { EXPECT_EQ(to_text({"", {{"a"}}, {{cell("x\ny")}}}), "a\n---\nx y\n"); }

}  // namespace
}  // namespace suture::report
