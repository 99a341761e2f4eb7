// SPDX-License-Identifier: Apache-2.0
#include "config/document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <sstream>

namespace suture::config {
namespace {

Place at(const YAML::Mark& mark, int origin) { return {origin, std::max(mark.line, 0), std::max(mark.column, 0)}; }

// Builds the tree from the parser's events. Open containers are kept by value and moved into their parent when they
// end.
class Builder final : public YAML::EventHandler {
 public:
  Builder(Reader& reader, int origin) : reader_(reader), origin_(origin) {}
  Node root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse(mark, "?", anchor);
    add({.place = at(mark, origin_)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    reader_.complain(at(mark, origin_), "aliases ('*name') are not supported; write the value out");
    add({.kind = Node::Kind::kBroken, .place = at(mark, origin_)});
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse(mark, tag, anchor);
    add({.kind = Node::Kind::kScalar, .quoted = tag == "!", .place = at(mark, origin_), .scalar = value});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open_.push_back({.node = {.kind = Node::Kind::kList, .place = at(mark, origin_)}});
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse(mark, tag, anchor);
    open_.push_back({.node = {.kind = Node::Kind::kMap, .place = at(mark, origin_)}});
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Node node;
    std::optional<Node> key;  // read, its value still to come
  };

  void refuse(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) reader_.complain(at(mark, origin_), "anchors ('&name') are not supported; write the value out");
    if (!tag.empty() && tag != "?" && tag != "!")
      reader_.complain(at(mark, origin_), fmt::format("tags are not supported: '{}'", tag));
  }

  void close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }

  void add(Node node) {
    if (open_.empty()) {
      root = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == Node::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.key) {
      parent.key = std::move(node);
    } else {
      add_entry(parent, std::move(node));
    }
  }

  void add_entry(Open& parent, Node value) {
    const Node key = *std::exchange(parent.key, std::nullopt);
    if (key.kind == Node::Kind::kBroken) return;
    if (key.kind != Node::Kind::kScalar) return reader_.complain(key.place, "a key must be a word");
    if (key.scalar == "<<" && !key.quoted)
      return reader_.complain(key.place, "merge keys ('<<') are not supported; write the keys out");
    if (const Node::Entry* first = parent.node.find(key.scalar)) {
      const std::string where = origin_ == 0 ? fmt::format("; the first is on line {}", first->place.line + 1) : "";
      return reader_.complain(key.place, fmt::format("key '{}' is given twice{}", key.scalar, where));
    }
    parent.node.entries.push_back({key.scalar, key.place, std::move(value)});
  }

  Reader& reader_;
  int origin_;
  std::vector<Open> open_;
};

// The tree of one YAML text; nothing after a syntax error, which is complained about.
std::optional<Node> parse_yaml(const std::string& text, Reader& reader, int origin) {
  std::istringstream stream(text);
  Builder builder(reader, origin);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    Node root = std::move(builder.root);
    Builder rest(reader, origin);
    if (parser.HandleNextDocument(rest))
      reader.complain(rest.root.place, "a second document starts here; a file holds one document");
    return root;
  } catch (const YAML::ParserException& error) {
    reader.complain(at(error.mark, origin), fmt::format("not valid YAML: {}", error.msg));
    return std::nullopt;
  }
}

// ---- overrides: key.sub[0].x=value

struct Step {
  std::string key;  // used when index is -1
  int64_t index = -1;
};

// Nothing when `text` is not a path.
std::optional<std::vector<Step>> parse_path(std::string_view text) {
  std::vector<Step> steps;
  while (!text.empty()) {
    if (text.front() == '[') {
      Step step;
      const size_t end = text.find(']');
      if (end == std::string_view::npos || steps.empty()) return std::nullopt;
      const std::string_view digits = text.substr(1, end - 1);
      const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step.index);
      if (error != std::errc() || stop != digits.data() + digits.size() || step.index < 0) return std::nullopt;
      steps.push_back(step);
      text.remove_prefix(end + 1);
      continue;
    }
    if (!steps.empty()) {
      if (text.front() != '.') return std::nullopt;
      text.remove_prefix(1);
    }
    const size_t end = std::min(text.find_first_of(".["), text.size());
    if (end == 0) return std::nullopt;
    steps.push_back({.key = std::string(text.substr(0, end))});
    text.remove_prefix(end);
  }
  if (steps.empty()) return std::nullopt;
  return steps;
}

Node* member(Node& node, const std::string& key, const Place& place) {
  if (node.kind == Node::Kind::kNothing) node = {.kind = Node::Kind::kMap, .place = place};
  if (node.kind != Node::Kind::kMap) return nullptr;
  for (Node::Entry& entry : node.entries)
    if (entry.key == key) return &entry.value;
  node.entries.push_back({key, place, {.place = place}});
  return &node.entries.back().value;
}

Node* element(Node& node, size_t index, const Place& place) {
  if (node.kind == Node::Kind::kNothing) node = {.kind = Node::Kind::kList, .place = place};
  if (node.kind != Node::Kind::kList || index > node.items.size()) return nullptr;
  if (index == node.items.size()) node.items.push_back({.place = place});
  return &node.items[index];
}

std::string refusal(const Node& node, const Step& step, const std::string& path) {
  const std::string name = path.empty() ? "the document" : "'" + path + "'";
  if (step.index < 0) return fmt::format("cannot set '{}': {} is not a mapping", step.key, name);
  if (node.kind != Node::Kind::kList) return fmt::format("cannot set item {}: {} is not a list", step.index, name);
  return fmt::format("cannot set item {}: {} has length {}", step.index, name, node.items.size());
}

size_t line_start(std::string_view text, int line) {
  size_t start = 0;
  for (int i = 0; i < line && start < text.size(); ++i) start = std::min(text.find('\n', start), text.size() - 1) + 1;
  return start;
}

size_t characters(std::string_view text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

const Node::Entry* Node::find(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

Document::Document(const Source& source) : source_(source) {
  refuse_tabs();
  if (!ok()) {
    readable_ = false;
    return;
  }
  std::optional<Node> root = parse_yaml(source_.text, reader_, 0);
  readable_ = root.has_value();
  if (!readable_) return;
  root_ = std::move(*root);
  if (root_.kind == Node::Kind::kNothing) root_.kind = Node::Kind::kMap;  // an empty file
  for (size_t i = 0; i < source_.overrides.size(); ++i) apply(source_.overrides[i], int(i) + 1);
}

void Document::refuse_tabs() {
  int number = 0;
  std::istringstream lines(source_.text);
  for (std::string line; std::getline(lines, line); ++number) {
    const size_t first = line.find_first_not_of(' ');
    if (first != std::string::npos && line[first] == '\t')
      reader_.complain({0, number, int(first)}, "a tab; indent with spaces");
  }
}

void Document::apply(const std::string& override_text, int origin) {
  const Place place{.origin = origin};
  const size_t equals = override_text.find('=');
  const auto steps =
      equals == std::string::npos ? std::nullopt : parse_path(std::string_view(override_text).substr(0, equals));
  if (!steps) return reader_.complain(place, "not of the form key.sub[0].x=value");
  std::optional<Node> value = parse_yaml(override_text.substr(equals + 1), reader_, origin);
  if (!value) return;
  value->place.origin = origin;
  Node* node = &root_;
  std::string path;
  for (const Step& step : *steps) {
    Node* next = step.index < 0 ? member(*node, step.key, place) : element(*node, size_t(step.index), place);
    if (next == nullptr) return reader_.complain(place, refusal(*node, step, path));
    node = next;
    path += step.index >= 0 ? fmt::format("[{}]", step.index) : (path.empty() ? "" : ".") + step.key;
  }
  *node = std::move(*value);
}

std::string Document::show(const Reader::Complaint& complaint) const {
  const Place& place = complaint.place;
  if (place.origin > 0)
    return fmt::format("--set {}: {}", source_.overrides[size_t(place.origin) - 1], complaint.message);
  const std::string_view text = source_.text;
  const size_t start = line_start(text, place.line);
  std::string_view line = text.substr(start, std::min(text.find('\n', start), text.size()) - start);
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t column = characters(line.substr(0, size_t(place.column)));
  std::string shown = fmt::format("{}:{}:{}: {}", source_.name, place.line + 1, column + 1, complaint.message);
  if (!line.empty()) shown += fmt::format("\n  {}\n  {:{}}^", line, "", column);
  return shown;
}

std::string Document::report() const {
  std::vector<Reader::Complaint> complaints = reader_.complaints_;
  std::stable_sort(complaints.begin(), complaints.end(), [](const auto& a, const auto& b) {
    return std::tie(a.place.origin, a.place.line, a.place.column) <
           std::tie(b.place.origin, b.place.line, b.place.column);
  });
  std::string report =
      fmt::format("cannot use {}: {} problem{}", source_.name, complaints.size(), complaints.size() == 1 ? "" : "s");
  for (const auto& complaint : complaints) report += "\n" + show(complaint);
  return report;
}

}  // namespace suture::config
