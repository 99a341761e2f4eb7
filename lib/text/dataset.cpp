// SPDX-License-Identifier: Apache-2.0
#include "text/dataset.h"

#include <algorithm>

#include "config/fields.h"
#include "core/digest.h"
#include "core/error.h"
#include "core/file.h"
#include "text/utf8.h"

namespace suture::text {
namespace {

// Records of a CSV text, strictly by RFC 4180; LF and CRLF both end a record.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  bool at_end() const { return at_ == text_.size(); }
  int64_t line() const { return line_; }

  std::vector<std::string> record() {
    std::vector<std::string> fields;
    do {
      fields.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
    } while (take(','));
    end_of_record();
    return fields;
  }

 private:
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool at_line_end() const { return text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n"; }

  void end_of_record() {
    if (at_end()) return;
    if (text_[at_] == '\r') ++at_;
    ++at_;
    ++line_;
  }

  std::string plain() {
    const size_t start = at_;
    while (!at_end() && text_[at_] != ',' && !at_line_end()) {
      if (text_[at_] == '"') {
        fail(Code::kData, "cannot read {}:{}: quote inside an unquoted field: quote the field and double the quote",
             origin_, line_);
      }
      ++at_;
    }
    return std::string(text_.substr(start, at_ - start));
  }

  std::string quoted() {
    const int64_t opened = line_;
    std::string field;
    ++at_;
    while (true) {
      if (at_end())
        fail(Code::kData, "cannot read {}:{}: quote is not closed before the end of the file", origin_, opened);
      const char c = text_[at_++];
      if (c == '"') {
        if (!take('"')) break;
        field += '"';
        continue;
      }
      if (c == '\n') ++line_;
      field += c;
    }
    if (!at_end() && text_[at_] != ',' && !at_line_end()) {
      fail(Code::kData, "cannot read {}:{}: text after the closing quote of a field", origin_, line_);
    }
    return field;
  }

  std::string_view text_;
  const std::string& origin_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

void check_header(const std::vector<std::string>& columns, const std::string& origin) {
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].empty()) fail(Code::kData, "cannot read {}:1: column {} has no name", origin, i + 1);
    if (std::find(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(i), columns[i]) !=
        columns.begin() + static_cast<std::ptrdiff_t>(i)) {
      fail(Code::kData, "cannot read {}:1: column '{}' appears twice", origin, columns[i]);
    }
  }
}

void read_csv(std::string_view text, Dataset& data) {
  CsvReader reader(text, data.origin);
  if (reader.at_end())
    fail(Code::kData, "cannot read {}: the file is empty, want a line with column names", data.origin);
  data.columns = reader.record();
  check_header(data.columns, data.origin);
  while (!reader.at_end()) {
    Row row{Json::object(), reader.line()};
    const std::vector<std::string> fields = reader.record();
    // A last line that is empty but for its line end is no record.
    if (reader.at_end() && fields.size() == 1 && fields[0].empty()) break;
    if (fields.size() != data.columns.size()) {
      fail(Code::kData, "cannot read {}:{}: {} field{}, want {} ({})", data.origin, row.line, fields.size(),
           fields.size() == 1 ? "" : "s", data.columns.size(), fmt::join(data.columns, ", "));
    }
    for (size_t i = 0; i < fields.size(); ++i) row.fields[data.columns[i]] = fields[i];
    data.rows.push_back(std::move(row));
  }
}

Json fields_of(Json value, const std::string& place) {
  if (value.is_object()) return value;
  if (value.is_string()) return Json{{"text", std::move(value)}};
  fail(Code::kData, "cannot read {}: a row must be an object or a string, not {}", place, value.type_name());
}

Json parse_line(std::string_view row, int64_t line, const std::string& origin) {
  try {
    return parse_json(row, fmt::format("{}:{}", origin, line), Code::kData);
  } catch (const Error&) {
    if (Json::accept(row)) throw;  // a duplicate key: the message names the place as it is
  }
  // Parsed again behind as many line ends as came before, so that the message counts lines of the file.
  return parse_json(std::string(static_cast<size_t>(line - 1), '\n').append(row), origin, Code::kData);
}

void read_jsonl(std::string_view text, Dataset& data) {
  int64_t line = 0;
  while (!text.empty()) {
    ++line;
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.find_first_not_of(" \t") == row.npos) {
      if (text.empty()) return;
      fail(Code::kData, "cannot read {}:{}: empty line", data.origin, line);
    }
    const std::string place = fmt::format("{}:{}", data.origin, line);
    data.rows.push_back({fields_of(parse_line(row, line, data.origin), place), line});
  }
}

std::string join_path(const std::vector<std::string>& path) { return fmt::format("/{}", fmt::join(path, "/")); }

// Questions below a category: an array of strings or objects, each a row that carries the category's names.
void append_questions(const Json& questions, const std::vector<std::string>& path, Dataset& data) {
  for (size_t i = 0; i < questions.size(); ++i) {
    Json fields = {{"category", path[0]}};
    if (path.size() > 1) fields["subcategory"] = path[1];
    const Json& question = questions[i];
    if (question.is_string()) {
      fields["question"] = question;
    } else if (question.is_object()) {
      for (const auto& [name, value] : question.items()) fields[name] = value;
    } else {
      fail(Code::kData, "cannot read {}: {}/{} must be a string or an object, not {}", data.origin, join_path(path), i,
           question.type_name());
    }
    data.rows.push_back({std::move(fields), 0});
  }
}

void read_categories(const Json& node, const std::vector<std::string>& path, Dataset& data) {
  if (node.is_array() && !path.empty()) {
    append_questions(node, path, data);
  } else if (node.is_object() && path.size() < 2) {
    for (const auto& [name, child] : node.items()) {
      std::vector<std::string> below = path;
      below.push_back(name);
      read_categories(child, below, data);
    }
  } else {
    fail(Code::kData, "cannot read {}: {} must be a list of questions{}, not {}", data.origin, join_path(path),
         path.size() < 2 ? " or an object of them" : "", node.type_name());
  }
}

void read_json_rows(std::string_view text, Dataset& data) {
  Json root = parse_json(text, data.origin, Code::kData);
  if (root.is_array()) {
    for (size_t i = 0; i < root.size(); ++i) {
      data.rows.push_back({fields_of(std::move(root[i]), fmt::format("{}: row {}", data.origin, i + 1)), 0});
    }
  } else {
    if (!root.is_object()) {
      fail(Code::kData, "cannot read {}: want an array of rows or an object of categories, not {}", data.origin,
           root.type_name());
    }
    read_categories(root, {}, data);
  }
}

void collect_columns(Dataset& data) {
  for (const Row& row : data.rows) {
    for (const auto& [name, value] : row.fields.items()) {
      if (std::find(data.columns.begin(), data.columns.end(), name) == data.columns.end()) data.columns.push_back(name);
    }
  }
}

}  // namespace

Dataset read_dataset(const fs::path& path) {
  Dataset data;
  data.origin = path.string();
  require_exists(path, "data set", Code::kData);
  const std::string extension = path.extension().string();
  const bool csv = extension == ".csv", jsonl = extension == ".jsonl", json = extension == ".json";
  if (!csv && !jsonl && !json) {
    fail(Code::kData, "cannot read {}: unknown extension '{}', want .csv, .jsonl or .json", data.origin, extension);
  }
  const std::string text = read_text(path, Code::kData);
  if (const auto offset = first_invalid_byte(text)) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*offset), '\n');
    fail(Code::kData, "cannot read {}:{}: invalid UTF-8 at byte {}", data.origin, line, *offset);
  }
  data.digest = sha256_file(path);
  if (csv) read_csv(text, data);
  if (jsonl) read_jsonl(text, data);
  if (json) read_json_rows(text, data);
  if (!csv) collect_columns(data);
  return data;
}

std::string Dataset::place(const Row& row) const {
  if (row.line > 0) return fmt::format("{}:{}", origin, row.line);
  const bool ours = !rows.empty() && &row >= rows.data() && &row < rows.data() + rows.size();
  return ours ? fmt::format("{}: row {}", origin, &row - rows.data() + 1) : origin;
}

std::string Dataset::text(const Row& row, const std::string& column) const {
  const auto found = row.fields.find(column);
  if (found == row.fields.end()) {
    const std::string near = config::nearest(column, columns);
    fail(Code::kData, "no column '{}' in {}: available are {}{}", column, place(row), fmt::join(columns, ", "),
         near.empty() || near == column ? "" : fmt::format("; did you mean '{}'?", near));
  }
  if (!found->is_string()) {
    fail(Code::kData, "column '{}' of {} is no text but {}: {}", column, place(row), found->type_name(), found->dump());
  }
  return found->get<std::string>();
}

}  // namespace suture::text
