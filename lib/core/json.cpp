// SPDX-License-Identifier: Apache-2.0
#include "core/json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/file.h"

namespace suture {
namespace {

std::pair<size_t, size_t> line_and_column(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const size_t line = size_t(std::count(before.begin(), before.end(), '\n')) + 1;
  const size_t start = before.rfind('\n');
  return {line, start == std::string_view::npos ? before.size() + 1 : before.size() - start};
}

}  // namespace

Json parse_json(std::string_view text, const std::string& origin, Code code) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second && duplicate.empty())
      duplicate = parsed.get<std::string>();
    return true;
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), watch);
    if (!duplicate.empty()) fail(code, "cannot read {}: duplicate key '{}'", origin, duplicate);
    return value;
  } catch (const Json::parse_error& error) {
    const auto [line, column] = line_and_column(text, error.byte == 0 ? 0 : error.byte - 1);
    std::string reason = error.what();
    if (const size_t colon = reason.find("; "); colon != std::string::npos)
      reason = reason.substr(colon + 2);
    else if (const size_t syntax = reason.rfind(": "); syntax != std::string::npos)
      reason = reason.substr(syntax + 2);
    fail(code, "cannot read {}:{}:{}: not valid JSON: {}", origin, line, column, reason);
  }
}

Json read_json(const std::filesystem::path& path, Code code) {
  return parse_json(read_text(path, code), path.string(), code);
}

std::string to_text(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

}  // namespace suture
