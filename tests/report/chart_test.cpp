// SPDX-License-Identifier: Apache-2.0
#include "report/chart.h"

#include <gmock/gmock.h>

#include <cmath>
#include <regex>

namespace suture::report {
namespace {

using testing::HasSubstr;
using testing::Not;

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// Every tag is closed, in order; attributes hold no bare '<'.
bool well_formed(const std::string& svg) {
  std::vector<std::string> open;
  static const std::regex tag("<(/?)([a-z]+)([^<>]*?)(/?)>");
  for (std::sregex_iterator it(svg.begin(), svg.end(), tag), end; it != end; ++it) {
    if ((*it)[1].length() > 0) {
      if (open.empty() || open.back() != (*it)[2]) return false;
      open.pop_back();
    } else if ((*it)[4].length() == 0) {
      open.push_back((*it)[2]);
    }
  }
  return open.empty() &&
         count(svg, "<") == static_cast<size_t>(std::distance(std::sregex_iterator(svg.begin(), svg.end(), tag),
                                                              std::sregex_iterator()));
}

std::vector<Chart> one_of_each() {
  const Axis share{"share", 0, 1, true};
  const Interval some{0.5, 0.4, 0.6}, none{NAN, NAN, NAN};
  return {
      {"bars", "Bars & <more>", "d", Bars{share, {"a", "b"}, {{"one", {some, none}}, {"two", {{1, 0.97, 1}, some}}}}},
      {"dots", "Dots", "d", Dots{share, {"a", "b"}, {{"one", {some, none}}}}},
      {"stack", "Stack", "d", Stack{{"x", "y", "z"}, {{"one", {3, 0, 1}}, {"none", {0, 0, 0}}}}},
      {"heat", "Heat", "d", Heat{"layer", "head", {{0.5, -1, NAN}, {0, 0.25, 1}}, {{1, 2}}}},
      {"lines", "Lines", "d", Lines{{"step", 0, 10}, {"loss", 0, 4}, {{"s", {{0, 4}, {5, NAN}, {10, 1}}}}}}};
}

TEST(Charts, AreWellFormedWithoutScriptsOrOutsideResources) {
  for (const Chart& chart : one_of_each()) {
    const std::string svg = to_svg(chart);
    EXPECT_TRUE(well_formed(svg)) << svg;
    EXPECT_THAT(svg, HasSubstr("viewBox=\"0 0 400 "));
    EXPECT_THAT(svg, HasSubstr("xmlns=\"http://www.w3.org/2000/svg\""));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_THAT(svg, Not(HasSubstr("<script")));
    EXPECT_THAT(svg, Not(HasSubstr("href")));
    EXPECT_THAT(to_inline_svg(chart), Not(HasSubstr("width=\"600\"")));
  }
}

TEST(Charts, EscapeTexts) {
  EXPECT_EQ(escaped("<a href=\"x\">&'\x01"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\xEF\xBF\xBD");
  EXPECT_THAT(to_svg(one_of_each()[0]), HasSubstr("Bars &amp; &lt;more&gt;"));
}

TEST(Charts, DrawEachValueAtItsPlace) {
  const std::string svg = to_svg({"b", "B", "", Bars{{"", 0, 2}, {"a"}, {{"one", {{1, 1, 1}}}}}});
  EXPECT_THAT(svg,
              HasSubstr("<rect x=\"12.0\" y=\"66.0\" width=\"188.0\" height=\"15.0\""));  // half of a plot 376 wide
}

TEST(Charts, DrawAsManyPartsAsThereAreAndNoEmptyOnes) {
  const std::string svg = to_svg(one_of_each()[2]);
  EXPECT_EQ(count(svg, "height=\"20.0\""), 2u);
  EXPECT_THAT(svg, HasSubstr("width=\"282.0\""));  // 3 of 4
}

TEST(Charts, HeatIsWhiteAtZeroAndSymmetric) {
  const std::string svg = to_svg({"h", "H", "", Heat{"r", "c", {{1, -1, 0}}, {}}});
  EXPECT_GE(count(svg, "#d55e00"), 1u);
  EXPECT_GE(count(svg, "#0072b2"), 1u);
  EXPECT_GE(count(svg, "#ffffff"), 1u);
}

}  // namespace
}  // namespace suture::report
