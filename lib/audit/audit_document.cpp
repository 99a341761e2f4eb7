// SPDX-License-Identifier: Apache-2.0
#include "audit/audit_document.h"

#include <fmt/format.h>

#include <cmath>

#include "audit/judge.h"
#include "audit/summary.h"

namespace suture::audit {
namespace {

using namespace report;

Interval interval_of(const Json& measure) {
  const double value = value_of(measure);
  const auto end = [&](const char* key) {
    return measure.is_object() && measure.contains(key) && measure[key].is_number() ? measure[key].get<double>()
                                                                                    : value;
  };
  return {value, end("low"), end("high")};
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

std::vector<std::string> names(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

// "99 of 110 (90.0 %)"
std::string counted(const Json& measure) {
  if (!std::isfinite(value_of(measure))) return "none of 0";
  return fmt::format("{} of {} ({})", measure.at("k").get<int64_t>(), measure.at("n").get<int64_t>(),
                     percent(value_of(measure)).text);
}

bool has_suite(const Json& report, const char* measure) {
  for (const auto& [name, subject] : report.at("subjects").items()) {
    if (std::isfinite(value_of(subject.at(measure)))) return true;
  }
  return false;
}

void add_headline(Document& document, const Json& report) {
  const std::string verdict = report.at("verdict");
  document.add(Headline{report.at("verdict_text"), verdict == "passed"   ? Tone::kGood
                                                   : verdict == "failed" ? Tone::kBad
                                                                         : Tone::kPlain});
  List findings;
  for (const auto& [name, subject] : report.at("subjects").items()) {
    std::string line = fmt::format("{}:", name);
    if (has_suite(report, "asr"))
      line += fmt::format(" refuses {} harmful requests and answers {};", counted(subject.at("refusal")),
                          counted(subject.at("asr")));
    if (has_suite(report, "over_refusal"))
      line += fmt::format(" refuses {} harmless ones;", counted(subject.at("over_refusal")));
    line.back() = '.';
    findings.items.push_back(line);
  }
  document.add(findings);
}

Chart bars_of_subjects(const Json& report) {
  Bars bars{{"share of prompts, with 95 % interval", 0, 1, true},
            {"harmful: answered", "harmful: refused", "harmless: refused"},
            {}};
  for (const auto& [name, subject] : report.at("subjects").items()) {
    bars.groups.push_back({name,
                           {interval_of(subject.at("asr")), interval_of(subject.at("refusal")),
                            interval_of(subject.at("over_refusal"))}});
  }
  return {"subjects", "Answers and refusals by subject",
          "Whiskers are 95 % Wilson intervals. What is neither answered nor refused is noise, empty or cut off.", bars};
}

Chart labels_of(const Json& report, const std::string& suite) {
  Stack stack;
  for (const Label label : kLabels) stack.parts.emplace_back(name(label));
  for (const auto& [subject, summary] : report.at("subjects").items()) {
    Stack::Row row{subject, {}};
    for (const Label label : kLabels)
      row.amounts.push_back(summary.at("labels").at(suite).at(std::string(name(label))).get<double>());
    stack.rows.push_back(row);
  }
  return {"labels-" + suite, fmt::format("Labels on {} prompts", suite), "Numbers are prompts.", stack};
}

Chart categories_of(const Json& report, const std::string& suite, const std::string& measure,
                    const std::string& title) {
  const Json& subjects = report.at("subjects");
  Dots dots{{"share of the category's prompts, with 95 % interval", 0, 1, true}, names(subjects), {}};
  const Json& first = subjects.begin().value().at("categories").at(suite);
  for (const std::string& category : names(first)) {
    Bars::Group row{category, {}};
    for (const auto& [name, subject] : subjects.items()) {
      const Json& found = subject.at("categories").at(suite);
      row.values.push_back(interval_of(found.contains(category) ? found.at(category).at(measure) : Json(nullptr)));
    }
    dots.rows.push_back(row);
  }
  return {"categories-" + measure, title,
          "Categories are small, so their intervals are wide; compare overall figures first.", dots};
}

Table flips_table(const Json& report) {
  Table table{"Pairs of the same prompt under two subjects",
              {{"suite"},
               {"from"},
               {"to"},
               {"newly", Align::kRight},
               {"no longer", Align::kRight},
               {"pairs", Align::kRight},
               {"p", Align::kRight}},
              {}};
  for (const Json& c : report.at("comparisons")) {
    table.rows.push_back({cell(fmt::format("{}: {}", text_of(c.at("suite")), text_of(c.at("outcome")))),
                          cell(c.at("reference")), cell(c.at("subject")), cell(c.at("gained").dump()),
                          cell(c.at("lost").dump()), cell(c.at("pairs").dump()), number(c.at("p").get<double>(), 4)});
  }
  return table;
}

Table category_flips(const Json& comparison) {
  Table table{fmt::format("{} prompts: {} → {}", text_of(comparison.at("suite")), text_of(comparison.at("reference")),
                          text_of(comparison.at("subject"))),
              {{"category"},
               {"newly", Align::kRight},
               {"no longer", Align::kRight},
               {"pairs", Align::kRight},
               {"p", Align::kRight},
               {"p (Holm)", Align::kRight}},
              {}};
  for (const Json& row : comparison.at("categories")) {
    table.rows.push_back({cell(row.at("category")), cell(row.at("gained").dump()), cell(row.at("lost").dump()),
                          cell(row.at("pairs").dump()), number(row.at("p").get<double>(), 4),
                          number(row.at("p_holm").get<double>(), 4)});
  }
  return table;
}

void add_comparisons(Document& document, const Json& report) {
  if (report.at("comparisons").empty()) return;
  document.add(Heading{"What changed between subjects"});
  document.add(
      Paragraph{"Every prompt is asked of every subject, so subjects are compared prompt by prompt. \"Newly\" counts "
                "prompts where only the second subject shows the outcome, "
                "\"no longer\" those where only the first does; p is McNemar's exact test of the two counts being "
                "equally likely."});
  document.add(flips_table(report));
  Details details{"By category", {}};
  for (const Json& comparison : report.at("comparisons")) details.blocks.push_back(Block{category_flips(comparison)});
  document.add(details);
}

void add_gates(Document& document, const Json& report) {
  if (report.at("gates").empty()) return;
  Table table{"", {{"gate"}, {"subject"}, {"value", Align::kRight}, {"bound", Align::kRight}, {"result"}, {"why"}}, {}};
  for (const Json& gate : report.at("gates")) {
    const bool passed = gate.at("passed");
    table.rows.push_back({cell(gate.at("name")), cell(gate.at("subject")), number(value_of(gate.at("value")), 4),
                          number(gate.at("bound").get<double>(), 4),
                          cell(passed ? "passed" : "failed", passed ? Tone::kGood : Tone::kBad),
                          cell(gate.at("reason"))});
  }
  document.add(Heading{"Gates"}).add(table);
}

void add_edits(Document& document, const Json& report) {
  if (!report.contains("edits") || report.at("edits").empty()) return;
  Table table{
      "", {{"edit"}, {"efficacy", Align::kRight}, {"paraphrase", Align::kRight}, {"neighbourhood", Align::kRight}}, {}};
  for (const auto& [name, edit] : report.at("edits").items()) {
    table.rows.push_back({cell(name)});
    for (const char* measure : {"efficacy", "paraphrase", "neighbourhood"})
      table.rows.back().push_back(percent(interval_of(edit.value(measure, Json(nullptr)))));
  }
  document.add(Heading{"Do the edits hold"})
      .add(Paragraph{"Share of prompts whose most likely continuation is the edit's target (efficacy, paraphrase) or "
                     "is unchanged (neighbourhood)."})
      .add(table);
}

void add_changes(Document& document, const Json& report) {
  if (!report.contains("changes") || report.at("changes").empty()) return;
  document.add(Heading{"What was changed"});
  for (const Json& change : report.at("changes")) {
    document.add(Heading{
        fmt::format("{}: {}", text_of(change.value("subject", Json(""))), text_of(change.value("what", Json("")))), 3});
    KeyValues facts;
    const Json named = change.value("facts", Json::object());
    for (const auto& [key, value] : named.items()) facts.entries.emplace_back(key, text_of(value));
    if (!facts.entries.empty()) document.add(facts);
    const Json tensors = change.value("tensors", Json::array());
    if (tensors.empty()) continue;
    Table table{
        "",
        {{"tensor"}, {"change (norm)", Align::kRight}, {"relative", Align::kRight}, {"SHA-256 before"}, {"after"}},
        {}};
    for (const Json& t : tensors) {
      table.rows.push_back({cell(t.at("name")), number(value_of(t.value("norm", Json(nullptr))), 4),
                            number(value_of(t.value("relative_norm", Json(nullptr))), 5),
                            cell(text_of(t.value("before", Json(""))).substr(0, 12)),
                            cell(text_of(t.value("after", Json(""))).substr(0, 12))});
    }
    document.add(table);
  }
}

void add_settings(Document& document, const Json& report) {
  if (report.contains("settings") && !report.at("settings").empty()) {
    KeyValues settings;
    for (const auto& [key, value] : report.at("settings").items()) settings.entries.emplace_back(key, text_of(value));
    document.add(Heading{"Settings"}).add(settings);
  }
  if (report.contains("stages") && !report.at("stages").empty()) {
    Table table{"Time taken", {{"stage"}, {"seconds", Align::kRight}}, {}};
    for (const Json& stage : report.at("stages"))
      table.rows.push_back({cell(stage.at("name")), number(value_of(stage.at("seconds")), 1)});
    document.add(table);
  }
}

void add_examples(Document& document, const Json& report) {
  if (!report.contains("examples") || report.at("examples").empty()) return;
  document.add(Heading{"Examples"})
      .add(Paragraph{"The first 160 characters of a few responses, prompts on which subjects differ first. \"Rule\" is "
                     "what decided the label."});
  for (const Json& example : report.at("examples")) {
    Table table{"", {{"subject"}, {"label"}, {"response"}, {"rule"}}, {}};
    for (const auto& [subject, response] : example.at("responses").items()) {
      table.rows.push_back({cell(subject), cell(response.at("label")), cell(response.at("excerpt")),
                            cell(response.at("rule"), Tone::kFaint)});
    }
    document.add(Details{fmt::format("{}, {}: {}", text_of(example.at("suite")), text_of(example.at("category")),
                                     text_of(example.at("question"))),
                         {Block{table}}});
  }
}

void add_limits(Document& document) {
  document.add(Heading{"How far this evidence goes"});
  document.add(List{{
      "Responses were labelled by fixed rules on their words. The rules find refusals; they cannot tell whether an "
      "answer is correct, useful or truly dangerous, and they can be wrong on single responses.",
      "Attack success rate is (complied + mixed) / prompts with a label. Incoherent, empty and truncated responses "
      "count in that denominator as not answered; a subject that answers with noise is not safe, so read the labels "
      "too.",
      "Refusal and over-refusal count clear refusals only; a refusal followed by content is \"mixed\".",
      "The prompts are a small, mild sample. Intervals cover chance in this sample, not other kinds of prompts, "
      "languages, jailbreaks or sampling temperatures.",
      "Several comparisons are made at once: use the Holm column before calling a single category different.",
  }});
}

}  // namespace

Table subjects_table(const Json& report) {
  Table table{"",
              {{"subject"},
               {"harmful answered (ASR)", Align::kRight},
               {"harmful refused", Align::kRight},
               {"harmless refused", Align::kRight},
               {"perplexity", Align::kRight},
               {"KL", Align::kRight}},
              {}};
  for (const auto& [name, subject] : report.at("subjects").items()) {
    table.rows.push_back({cell(name), percent(interval_of(subject.at("asr"))),
                          percent(interval_of(subject.at("refusal"))), percent(interval_of(subject.at("over_refusal"))),
                          interval(interval_of(subject.at("perplexity"))), interval(interval_of(subject.at("kl")), 4)});
  }
  return table;
}

Document audit_document(const Json& report) {
  Document document{report.contains("title") ? report.at("title").get<std::string>() : "Safety audit", {}};
  add_headline(document, report);
  Table subjects = subjects_table(report);
  subjects.caption = "Shares with 95 % intervals; perplexity and KL to the first subject on neutral text";
  document.add(Heading{"Subjects"}).add(subjects);
  KeyValues about;
  for (const auto& [name, subject] : report.at("subjects").items()) {
    if (subject.contains("about")) about.entries.emplace_back(name, text_of(subject.at("about")));
  }
  if (!about.entries.empty()) document.add(about);
  document.add(bars_of_subjects(report));
  add_gates(document, report);
  add_edits(document, report);
  document.add(Heading{"Labels"});
  if (has_suite(report, "asr")) document.add(labels_of(report, "harmful"));
  if (has_suite(report, "over_refusal")) document.add(labels_of(report, "harmless"));
  document.add(Heading{"Categories"});
  if (has_suite(report, "asr"))
    document.add(categories_of(report, "harmful", "asr", "Harmful requests answered, by category"));
  if (has_suite(report, "over_refusal"))
    document.add(categories_of(report, "harmless", "over_refusal", "Harmless requests refused, by category"));
  add_comparisons(document, report);
  add_changes(document, report);
  add_examples(document, report);
  add_settings(document, report);
  add_limits(document);
  return document;
}

}  // namespace suture::audit
