// SPDX-License-Identifier: Apache-2.0
#include "report/document.h"

#include <gmock/gmock.h>

#include "core/file.h"

namespace suture::report {
namespace {

using testing::HasSubstr;
using testing::Not;

Document sample() {
  Document document{"A <title>", {}};
  document.add(Headline{"All is well", Tone::kGood})
      .add(Heading{"Part_one"})
      .add(Paragraph{"Text with *stars*, | and <tags>."})
      .add(KeyValues{{{"seed", "7"}}})
      .add(List{{"one", "two"}})
      .add(Code{"a ``` b", "text"})
      .add(Table{"Caption", {{"name"}, {"n", Align::kRight}}, {{cell("a|b", Tone::kBad), cell("1")}, {cell("c")}}})
      .add(Details{
          "More",
          {Block{Paragraph{"hidden"}}, Block{Chart{"inner", "Inner", "about it", Stack{{"x"}, {{"r", {1}}}}}}}});
  return document;
}

TEST(Html, StandsAlone) {
  const std::string page = to_html(sample());
  for (const char* outside : {"<script", "http://", "https://", "<link", "<img", "@import", "url("})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  EXPECT_THAT(page, HasSubstr("width=device-width"));
  EXPECT_THAT(page, HasSubstr("@media print"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme:dark"));
}

TEST(Html, EscapesEverything) {
  const std::string page = to_html(sample());
  EXPECT_THAT(page, HasSubstr("<h1>A &lt;title&gt;</h1>"));
  EXPECT_THAT(page, HasSubstr("and &lt;tags&gt;."));
  EXPECT_THAT(page, HasSubstr("<td class=\"bad\">✗ a|b</td>"));
  Document broken{"x", {}};
  broken.add(Paragraph{"bad \xFF byte"});
  EXPECT_THAT(to_html(broken), HasSubstr("bad \xEF\xBF\xBD byte"));
}

TEST(Html, FillsShortRows) { EXPECT_THAT(to_html(sample()), HasSubstr("<tr><td>c</td><td></td></tr>")); }

TEST(Markdown, EqualsTheExpectedText) {
  EXPECT_EQ(to_markdown(sample()),
            "# A \\<title\\>\n\n"
            "**✓ All is well**\n\n"
            "## Part\\_one\n\n"
            "Text with \\*stars\\*, \\| and \\<tags\\>.\n\n"
            "- **seed**: 7\n\n"
            "- one\n- two\n\n"
            "````text\na ``` b\n````\n\n"
            "Caption\n\n| name | n |\n| --- | ---: |\n| ✗ a\\|b | 1 |\n| c |  |\n\n"
            "<details><summary>More</summary>\n\nhidden\n\n![Inner](charts/inner.svg)\n\nabout it\n\n</details>\n");
}

TEST(Charts, AreWrittenWhereMarkdownLooksForThem) {
  const fs::path folder = fs::path(testing::TempDir()) / "suture-report" / "charts";
  const auto paths = write_charts(sample(), folder);
  ASSERT_EQ(paths.size(), 1u);
  EXPECT_EQ(paths[0], folder / "inner.svg");
  EXPECT_TRUE(fs::exists(paths[0]));
}

}  // namespace
}  // namespace suture::report
