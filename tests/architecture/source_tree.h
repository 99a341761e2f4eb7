// SPDX-License-Identifier: Apache-2.0
// The repository's text files, and the rank table of lib/README.md.
#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/file.h"

namespace suture::architecture {

struct SourceFile {
  fs::path path;  // relative to the root
  std::string text;
  std::vector<std::string> lines() const {
    std::vector<std::string> lines{""};
    for (const char c : text) c == '\n' ? void(lines.emplace_back()) : void(lines.back() += c);
    return lines;
  }
  // "model" for lib/model/x.h, "tools" for tools/edit/x.cpp, else "".
  std::string folder() const {
    const auto part = path.begin();
    if (*part == "tools") return "tools";
    return *part == "lib" && std::distance(path.begin(), path.end()) > 2 ? std::next(part)->string() : "";
  }
  bool is_cpp() const { return path.extension() == ".h" || path.extension() == ".cpp"; }
};

inline bool is_text(const std::string& text) { return text.find('\0') == std::string::npos; }

// Everything a clone holds: not what builds, runs and version control leave behind.
inline std::vector<SourceFile> source_files(const fs::path& root) {
  static const std::set<std::string> kSkipped = {"build", "out", ".git", ".suture", "target", "__pycache__", ".cache"};
  std::vector<SourceFile> files;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::recursive_directory_iterator(); ++it) {
    if (it->is_directory() && kSkipped.contains(it->path().filename().string())) it.disable_recursion_pending();
    if (!it->is_regular_file() || it->file_size() > (4U << 20)) continue;
    std::string text = read_text(it->path());
    if (is_text(text)) files.push_back({fs::relative(it->path(), root), std::move(text)});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

struct Rank {
  int rank = 0;
  bool torch = false;
};

// Rows "| 2 | `io` | ... | yes |".
inline std::map<std::string, Rank> rank_table(const std::string& markdown) {
  static const std::regex kRow(R"(\|\s*(\d+)\s*\|\s*`(\w+)`\s*\|.*\|\s*(yes|no)\s*\|)");
  std::map<std::string, Rank> table;
  for (const std::string& line : SourceFile{"", markdown}.lines())
    if (std::smatch match; std::regex_match(line, match, kRow))
      table[match[2]] = {.rank = std::stoi(match[1]), .torch = match[3] == "yes"};
  return table;
}

}  // namespace suture::architecture
