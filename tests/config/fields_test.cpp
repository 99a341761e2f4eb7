// SPDX-License-Identifier: Apache-2.0
#include "config/fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace {
enum class Reduce { kMean, kLast };

struct Fact {
  std::string subject;
  int layer = 8;
  template <class V>
  void visit(V& v) {
    v.required("subject", subject, "text the fact is about");
    v.optional("layer", layer, "block to edit", suture::config::between(0, 29));
  }
};

struct Everything {
  std::filesystem::path model = "m";
  bool on = true;
  float rate = 0.1F;
  double decay = 1e-5;
  uint64_t seed = 0;
  Reduce reduce = Reduce::kMean;
  Fact fact{.subject = "s"};
  std::vector<Fact> facts;
  std::vector<std::vector<int>> heads = {{1, 2}};
  std::map<std::string, double> weights;
  std::map<std::string, Fact> arms;
  std::optional<double> gate;
  std::vector<std::filesystem::path> files;
  template <class V>
  void visit(V& v) {
    using namespace suture::config;
    v.optional("model", model, "checkpoint");
    v.optional("on", on, "switch");
    v.optional("rate", rate, "step", half_open(0, 1));
    v.optional("decay", decay, "decay", above(0));
    v.optional("seed", seed, "seed");
    v.optional("reduce", reduce, "how to pool");
    v.optional("fact", fact, "one fact");
    v.optional("facts", facts, "more facts", non_empty());
    v.optional("heads", heads, "layer and head");
    v.optional("weights", weights, "by name", at_most(2));
    v.optional("arms", arms, "facts by name");
    v.optional("gate", gate, "threshold");
    v.optional("files", files, "inputs");
  }
};

struct Pair {
  int low = 0, high = 1;
  std::vector<int> list;
  template <class V>
  void visit(V& v) {
    v.optional("low", low, "lower end");
    v.optional("high", high, "upper end");
    v.optional("list", list, "values");
  }
  void check(suture::config::Checker& c) const {
    c.require(low < high, "low", "must be less than 'high'");
    for (size_t i = 0; i < list.size(); ++i)
      c.require(list[i] != 13, "list[" + std::to_string(i) + "]", "must not be 13");
  }
};

struct Outer {
  Pair pair;
  template <class V>
  void visit(V& v) {
    v.required("pair", pair, "a pair");
  }
};
}  // namespace

template <>
struct suture::config::Names<Reduce> {
  static constexpr std::pair<std::string_view, Reduce> table[] = {{"mean", Reduce::kMean}, {"last", Reduce::kLast}};
};

namespace suture::config {
namespace {

Source source(std::string text, std::vector<std::string> overrides = {}) {
  return {.name = "t.yaml", .text = std::move(text), .folder = "/base", .overrides = std::move(overrides)};
}

template <class T>
std::string complaint(const Source& from) {
  try {
    load<T>(from);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    return error.what();
  }
  return "accepted";
}

std::string everything(const std::string& text) { return complaint<Everything>(source(text)); }

TEST(Fields, BindsEveryType) {
  const auto v = load<Everything>(source(R"(model: sub/x.gguf
on: false
rate: .0625
decay: 5e-1
seed: 18446744073709551615
reduce: last
fact: {subject: "yes: no", layer: 3}
facts:
  - subject: a
  - {layer: 2, subject: 'b'}
heads: [[3, 4], [5, 6]]
weights: {x: -1.5, "y z": 1e-3}
arms:
  one: {subject: q}
gate: 2
files: [a, /b]
)"));
  EXPECT_EQ(v.model, "sub/x.gguf");
  EXPECT_FALSE(v.on);
  EXPECT_EQ(v.rate, 0.0625F);
  EXPECT_EQ(v.decay, 0.5);
  EXPECT_EQ(v.seed, UINT64_MAX);
  EXPECT_EQ(v.reduce, Reduce::kLast);
  EXPECT_EQ(v.fact.subject, "yes: no");
  EXPECT_EQ(v.fact.layer, 3);
  ASSERT_EQ(v.facts.size(), 2U);
  EXPECT_EQ(v.facts[0].layer, 8);
  EXPECT_EQ(v.facts[1].subject, "b");
  EXPECT_EQ(v.heads, (std::vector<std::vector<int>>{{3, 4}, {5, 6}}));
  EXPECT_EQ(v.weights, (std::map<std::string, double>{{"x", -1.5}, {"y z", 1e-3}}));
  EXPECT_EQ(v.arms.at("one").subject, "q");
  EXPECT_EQ(v.gate, 2.0);
  EXPECT_EQ(v.files, (std::vector<std::filesystem::path>{"a", "/b"}));
}

TEST(Fields, AnEmptyFileGivesTheDefaults) {
  const auto v = load<Everything>(source(""));
  EXPECT_EQ(v.decay, 1e-5);
  EXPECT_EQ(v.heads, (std::vector<std::vector<int>>{{1, 2}}));
  EXPECT_FALSE(v.gate.has_value());
}

TEST(Fields, EmptyMeansNothingForAnOptionalOnly) {
  EXPECT_FALSE(load<Everything>(source("gate:\n")).gate.has_value());
  EXPECT_FALSE(load<Everything>(source("gate: null\n")).gate.has_value());
  EXPECT_THAT(everything("rate:\n"), testing::HasSubstr("'rate' wants a number, got nothing"));
  EXPECT_THAT(everything("facts:\n"), testing::HasSubstr("'facts' wants a list, got nothing"));
  EXPECT_THAT(everything("fact:\n"), testing::HasSubstr("'fact' wants a mapping with subject, layer, got nothing"));
}

TEST(Fields, ComplaintHasPlaceLineAndCaret) {
  EXPECT_EQ(everything("fact:\n  subject: é\n  layer: 48\n"),
            "cannot use t.yaml: 1 problem\n"
            "t.yaml:3:10: 'fact.layer' must lie in [0, 29], got 48\n"
            "    layer: 48\n"
            "           ^");
}

TEST(Fields, ColumnsCountCharactersAndCarriageReturnsAreDropped) {
  EXPECT_EQ(everything("heads: [[1], \"é\", 3]\r\n"),
            "cannot use t.yaml: 2 problems\n"
            "t.yaml:1:14: 'heads[1]' wants a list, got the text 'é'\n"
            "  heads: [[1], \"é\", 3]\n"
            "               ^\n"
            "t.yaml:1:19: 'heads[2]' wants a list, got '3'\n"
            "  heads: [[1], \"é\", 3]\n"
            "                    ^");
}

TEST(Fields, EveryProblemIsReportedInTheOrderOfTheText) {
  const std::string report = everything("rate: 1\nfact: {subject: a, layr: 1}\nseed: -4\n");
  EXPECT_THAT(report, testing::StartsWith("cannot use t.yaml: 3 problems\n"));
  EXPECT_LT(report.find("t.yaml:1:"), report.find("t.yaml:2:"));
  EXPECT_LT(report.find("t.yaml:2:"), report.find("t.yaml:3:"));
}

struct Case {
  std::string yaml, message;
  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.message.substr(0, c.message.find(' '));
  }
};

class FieldsComplain : public testing::TestWithParam<Case> {};

TEST_P(FieldsComplain, WordForWord) {
  const std::string report = everything(GetParam().yaml);
  const size_t first = report.find('\n') + 1;
  EXPECT_EQ(report.substr(first, report.find('\n', first) - first), "t.yaml:" + GetParam().message);
  EXPECT_THAT(report, testing::StartsWith("cannot use t.yaml: 1 problem\n"));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FieldsComplain,
    testing::Values(
        Case{"sead: 1", "1:1: unknown key 'sead'; did you mean 'seed'?"},
        Case{"fact: {subject: a, qqqqqq: 1}", "1:20: unknown key 'fact.qqqqqq'; known are subject, layer"},
        Case{"seed: 1\non: true\nseed: 2", "3:1: key 'seed' is given twice; the first is on line 1"},
        Case{"fact: {layer: 2}", "1:7: missing key 'fact.subject' (text the fact is about)"},
        Case{"facts: [{subject: a}, {layer: 1}]", "1:23: missing key 'facts[1].subject' (text the fact is about)"},
        Case{"on: yes", "1:5: 'on' wants true or false, got 'yes'"},
        Case{"on: \"true\"", "1:5: 'on' wants true or false, got the text 'true'"},
        Case{"on: True", "1:5: 'on' wants true or false, got 'True'"},
        Case{"decay: 010", "1:8: 'decay' wants a number, got '010'"},
        Case{"decay: inf", "1:8: 'decay' wants a number, got 'inf'"},
        Case{"decay: .inf", "1:8: 'decay' wants a number, got '.inf'"},
        Case{"decay: nan", "1:8: 'decay' wants a number, got 'nan'"},
        Case{"decay: 1e999", "1:8: 'decay' wants a number, got '1e999'"},
        Case{"decay: 1.5x", "1:8: 'decay' wants a number, got '1.5x'"},
        Case{"decay: 0", "1:8: 'decay' must lie in > 0, got 0"},
        Case{"rate: 1", "1:7: 'rate' must lie in [0, 1), got 1"},
        Case{"weights: {x: 3}", "1:14: 'weights.x' must lie in <= 2, got 3"},
        Case{"seed: 0x10", "1:7: 'seed' wants an integer of at least 0, got '0x10'"},
        Case{"seed: 010", "1:7: 'seed' wants an integer of at least 0, got '010'"},
        Case{"seed: -4", "1:7: 'seed' wants an integer of at least 0, got '-4'"},
        Case{"seed: 1e3", "1:7: 'seed' wants an integer of at least 0, got '1e3'"},
        Case{"seed: 18446744073709551616",
             "1:7: 'seed' must lie in [0, 18446744073709551615], got 18446744073709551616"},
        Case{"heads: [[3000000000]]", "1:10: 'heads[0][0]' must lie in [-2147483648, 2147483647], got 3000000000"},
        Case{"heads: [[1, 2.5]]", "1:13: 'heads[0][1]' wants an integer, got '2.5'"},
        Case{"reduce: lsat", "1:9: 'reduce' wants one of mean, last, got 'lsat'; did you mean 'last'?"},
        Case{"reduce: zzzzzz", "1:9: 'reduce' wants one of mean, last, got 'zzzzzz'"},
        Case{"model: [a]", "1:8: 'model' wants a path, got a list"},
        Case{"fact: {subject: {a: 1}}", "1:17: 'fact.subject' wants a text, got a mapping"},
        Case{"facts: []", "1:8: 'facts' must not be empty"},
        Case{
            "- 1",
            "1:1: the document wants a mapping with model, on, rate, decay, seed, reduce, fact, facts, heads, weights, "
            "arms, gate, files, got a list"},
        Case{"seed: &a 1", "1:7: anchors ('&name') are not supported; write the value out"},
        Case{"seed: !!int 1", "1:7: tags are not supported: 'tag:yaml.org,2002:int'"},
        Case{"weights:\n  <<: {x: 1}", "2:3: merge keys ('<<') are not supported; write the keys out"},
        Case{"seed: 1\n---\nseed: 2", "3:1: a second document starts here; a file holds one document"},
        Case{"fact:\n\tsubject: a", "2:1: a tab; indent with spaces"}, Case{"[a]: 1", "1:1: a key must be a word"}));

TEST(Fields, AnAliasIsComplainedAboutOnce) {
  EXPECT_THAT(
      everything("seed: &a 1\nrate: *a\n"),
      testing::AllOf(testing::HasSubstr("1:7: anchors"), testing::HasSubstr("2:7: aliases ('*name') are not supported"),
                     testing::StartsWith("cannot use t.yaml: 2 problems")));
}

TEST(Fields, ASyntaxErrorIsPlaced) {
  EXPECT_THAT(everything("heads: [[1]\nseed: 3\n"),
              testing::HasSubstr("t.yaml:2:1: not valid YAML: end of sequence flow not found"));
}

TEST(Check, ComplainsAtTheKeyItIsAbout) {
  EXPECT_EQ(complaint<Outer>(source("pair:\n  high: 2\n  low: 5\n  list: [1, 13]\n")),
            "cannot use t.yaml: 2 problems\n"
            "t.yaml:3:8: 'pair.low' must be less than 'high'\n"
            "    low: 5\n"
            "         ^\n"
            "t.yaml:4:13: 'pair.list[1]' must not be 13\n"
            "    list: [1, 13]\n"
            "              ^");
}

TEST(Check, AnAbsentKeyIsPlacedAtItsStruct) {
  EXPECT_THAT(complaint<Outer>(source("pair:\n  high: -2\n")),
              testing::HasSubstr("t.yaml:2:3: 'pair.low' must be less"));
}

TEST(Check, RunsOnlyOnAStructThatWasRead) {
  EXPECT_THAT(complaint<Outer>(source("pair: {low: x}\n")), testing::StartsWith("cannot use t.yaml: 1 problem"));
}

TEST(Overrides, ReplaceAddAndAppendInOrder) {
  const auto v = load<Everything>(source("seed: 1\nfact: {subject: a}\nfacts: [{subject: b}]\n",
                                         {"seed=2", "seed=3", "fact.layer=4", "facts[0].subject='x: y'",
                                          "facts[1].subject=new", "arms.q.subject=z", "heads=[[7, 8]]"}));
  EXPECT_EQ(v.seed, 3U);
  EXPECT_EQ(v.fact.layer, 4);
  ASSERT_EQ(v.facts.size(), 2U);
  EXPECT_EQ(v.facts[0].subject, "x: y");
  EXPECT_EQ(v.facts[1].subject, "new");
  EXPECT_EQ(v.arms.at("q").subject, "z");
  EXPECT_EQ(v.heads, (std::vector<std::vector<int>>{{7, 8}}));
}

TEST(Overrides, ComplaintsNameTheOverride) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"sead=1", "unknown key 'sead'; did you mean 'seed'?"},
      {"fact.layer=48", "'fact.layer' must lie in [0, 29], got 48"},
      {"facts[7].subject=a", "cannot set item 7: 'facts' has length 1"},
      {"seed.x=1", "cannot set 'x': 'seed' is not a mapping"},
      {"fact[0]=1", "cannot set item 0: 'fact' is not a list"},
      {"seed", "not of the form key.sub[0].x=value"},
      {"=1", "not of the form key.sub[0].x=value"},
      {"facts[x]=1", "not of the form key.sub[0].x=value"},
      {"heads=[1", "not valid YAML: end of sequence flow not found"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_EQ(complaint<Everything>(source("seed: 1\nfact: {subject: a}\nfacts: [{subject: b}]\n", {text})),
              "cannot use t.yaml: 1 problem\n--set " + text + ": " + message);
}

TEST(Paths, StayAsWrittenUntilResolved) {
  auto v = load<Everything>(source("model: ../a/b\nfiles: [x, /abs]\n"));
  EXPECT_EQ(v.model, "../a/b");
  EXPECT_EQ(resolve(source(""), v.model), "/a/b");
  resolve_paths(v, "/base/sub");
  EXPECT_EQ(v.model, "/base/a/b");
  EXPECT_EQ(v.files, (std::vector<std::filesystem::path>{"/base/sub/x", "/abs"}));
}

TEST(Paths, AnOverrideIsSeenFromTheWorkingDirectory) {
  EXPECT_EQ(load<Everything>(source("", {"model=here"})).model, std::filesystem::current_path() / "here");
}

TEST(Schema, HasEveryKeyOnce) {
  EXPECT_EQ(schema<Everything>(),
            "model: m                                # checkpoint (path)\n"
            "on: true                                # switch (true or false)\n"
            "rate: 0.1                               # step (number, [0, 1))\n"
            "decay: 1e-05                            # decay (number, > 0)\n"
            "seed: 0                                 # seed (integer)\n"
            "reduce: mean                            # how to pool (one of mean, last)\n"
            "fact:                                   # one fact\n"
            "  subject: <required>                   # text the fact is about (text)\n"
            "  layer: 8                              # block to edit (integer, [0, 29])\n"
            "facts:                                  # more facts (list of mappings, not empty)\n"
            "  - subject: <required>                 # text the fact is about (text)\n"
            "    layer: 8                            # block to edit (integer, [0, 29])\n"
            "heads: [[1,2]]                          # layer and head (list of list of integer)\n"
            "weights: {}                             # by name (mapping of name to number, <= 2)\n"
            "arms:                                   # facts by name (mapping of name to mapping)\n"
            "  <name>:\n"
            "    subject: <required>                 # text the fact is about (text)\n"
            "    layer: 8                            # block to edit (integer, [0, 29])\n"
            "gate: null                              # threshold (number)\n"
            "files: []                               # inputs (list of path)\n");
}

TEST(Resolved, KeepsTheOrderOfVisitAndShortFloats) {
  const auto v = load<Everything>(source("gate: 0.5\nweights: {a: 1}\n"));
  EXPECT_EQ(
      resolved(v).dump(),
      R"({"model":"m","on":true,"rate":0.1,"decay":1e-05,"seed":0,"reduce":"mean","fact":{"subject":"s","layer":8},)"
      R"("facts":[],"heads":[[1,2]],"weights":{"a":1.0},"arms":{},"gate":0.5,"files":[]})");
}

TEST(Resolved, YamlReadsBackToTheSame) {
  Everything v;
  v.fact.subject = "tricky: \"quotes\", # no comment\nnew line, é";
  v.facts = {{.subject = "null"}, {.subject = "- a"}, {.subject = ""}, {.subject = "~"}, {.subject = "<<"}};
  v.arms = {{"a b", {.subject = "x"}}, {"true", {.subject = "*y"}}};
  v.gate = 1.0 / 3;
  // "facts" is never empty here: an empty list would be refused by its own limit on reading back.
  const std::string yaml = resolved_yaml(v);
  const auto again = load<Everything>(source(yaml));
  EXPECT_EQ(resolved(again), resolved(v)) << yaml;
  EXPECT_EQ(resolved_yaml(again), yaml);
}

TEST(Nearest, FindsSlipsOnly) {
  const std::vector<std::string> words = {"layer", "scale", "edit apply"};
  EXPECT_EQ(nearest("layr", words), "layer");
  EXPECT_EQ(nearest("laeyr", words), "layer");  // two letters swapped are one slip
  EXPECT_EQ(nearest("edit aply", words), "edit apply");
  EXPECT_EQ(nearest("zzz", words), "");
}

TEST(ReadSource, NamesAMissingFileAndDropsAByteOrderMark) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "suture_config_source";
  std::filesystem::create_directories(folder);
  try {
    read_source(folder / "none.yaml");
    FAIL() << "accepted a missing file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kConfig);
    EXPECT_EQ(std::string(error.what()),
              "cannot read " + (folder / "none.yaml").string() + ": No such file or directory");
  }
  std::ofstream(folder / "bom.yaml") << "\xEF\xBB\xBFseed: 5\n";
  EXPECT_EQ(load<Everything>(read_source(folder / "bom.yaml")).seed, 5U);
  EXPECT_EQ(read_source(folder / "bom.yaml").folder, folder);
}

}  // namespace
}  // namespace suture::config
