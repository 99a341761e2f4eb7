// SPDX-License-Identifier: Apache-2.0
// Strict JSON: duplicate keys are refused, errors name file, line and column, key order is kept.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace suture {

using Json = nlohmann::ordered_json;

// `origin` names the text in errors. Throws Error(code).
Json parse_json(std::string_view text, const std::string& origin, Code code = Code::kData);
Json read_json(const std::filesystem::path& path, Code code = Code::kData);

// Two-space indent, final newline; numbers as the shortest text that reads back the same; NaN and infinity become null.
std::string to_text(const Json& value);

}  // namespace suture
