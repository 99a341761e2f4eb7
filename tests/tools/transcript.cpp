// SPDX-License-Identifier: Apache-2.0
#include "tools/transcript.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "core/file.h"

namespace suture::test {
namespace {

constexpr std::string_view kHole = "{*}";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

bool line_matches(std::string_view pattern, std::string_view line) {
  const size_t hole = pattern.find(kHole);
  if (hole == std::string_view::npos) return pattern == line;
  if (!line.starts_with(pattern.substr(0, hole))) return false;
  const std::string_view rest = pattern.substr(hole + kHole.size());
  for (size_t skip = hole; skip <= line.size(); ++skip)
    if (line_matches(rest, line.substr(skip))) return true;
  return false;
}

// How far the patterns got at best, for the message.
bool lines_match(const std::vector<std::string>& patterns, size_t p, const std::vector<std::string>& lines, size_t l,
                 size_t& furthest) {
  furthest = std::max(furthest, l);
  if (p == patterns.size()) return l == lines.size();
  if (patterns[p] == "...") {
    for (size_t next = l; next <= lines.size(); ++next)
      if (lines_match(patterns, p + 1, lines, next, furthest)) return true;
    return false;
  }
  return l < lines.size() && line_matches(patterns[p], lines[l]) &&
         lines_match(patterns, p + 1, lines, l + 1, furthest);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (const char* name :
       {"PATH", "HOME", "SUTURE_DEMO_MODEL", "OMP_NUM_THREADS", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"})
    if (const char* value = std::getenv(name)) variables.push_back(fmt::format("{}={}", name, value));
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

void redirect(int descriptor, const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags, 0600);
  if (file < 0 || ::dup2(file, descriptor) < 0) ::_exit(126);
}

}  // namespace

Outcome run_suture(const std::vector<std::string>& arguments, const std::filesystem::path& folder) {
  std::vector<std::string> words = {SUTURE_BINARY}, variables = environment();
  words.insert(words.end(), arguments.begin(), arguments.end());
  const std::string out = folder.string() + ".stdout", err = folder.string() + ".stderr";
  const auto argv = pointers(words), envp = pointers(variables);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    if (::chdir(folder.c_str()) != 0) ::_exit(126);
    redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
    redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  Outcome outcome{.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                  .out = read_text(out),
                  .err = read_text(err)};
  fs::remove(out);
  fs::remove(err);
  return outcome;
}

std::vector<std::string> split_words(const std::string& line) {
  std::vector<std::string> words;
  bool open = false;
  char quote = 0;
  for (const char c : line) {
    if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        words.back() += c;
    } else if (c == ' ') {
      open = false;
    } else {
      if (!std::exchange(open, true)) words.emplace_back();
      if (c == '\'' || c == '"')
        quote = c;
      else
        words.back() += c;
    }
  }
  if (quote != 0) throw std::runtime_error(fmt::format("a quote is not closed: {}", line));
  return words;
}

std::vector<TranscriptCase> parse_transcript(const std::string& text) {
  std::vector<TranscriptCase> cases;
  std::optional<std::string>* stream = nullptr;
  int number = 0;
  for (std::string line : lines_of(text)) {
    ++number;
    replace_all(line, "{source}", SUTURE_SOURCE_DIR);
    if (line.starts_with("$ suture")) {
      std::vector<std::string> words = split_words(line.substr(2));
      cases.push_back({.line = number, .arguments = {words.begin() + 1, words.end()}});
      stream = nullptr;
    } else if (cases.empty()) {
      if (!line.empty() && !line.starts_with('#'))
        throw std::runtime_error(fmt::format("line {}: expected '$ suture ...'", number));
    } else if (line.starts_with("exit ")) {
      cases.back().exit = std::stoi(line.substr(5));
    } else if (line.starts_with("stdout:") || line.starts_with("stderr:")) {
      stream = line.starts_with("stdout:") ? &cases.back().out : &cases.back().err;
      const std::string same_line = line.substr(7);
      *stream = same_line.empty() ? "" : same_line.substr(1) + "\n";
    } else if (stream != nullptr) {
      **stream += line + "\n";
    } else if (!line.empty() && !line.starts_with('#')) {
      throw std::runtime_error(fmt::format("line {}: expected 'exit N', 'stdout:' or 'stderr:'", number));
    }
  }
  for (TranscriptCase& each : cases)  // blank lines between cases belong to none
    for (auto* pattern : {&each.out, &each.err})
      while (*pattern && ((*pattern)->ends_with("\n\n") || **pattern == "\n")) (*pattern)->pop_back();
  return cases;
}

std::string mismatch(const std::string& pattern, const std::string& text) {
  const std::vector<std::string> patterns = lines_of(pattern), lines = lines_of(text);
  size_t furthest = 0;
  if (lines_match(patterns, 0, lines, 0, furthest)) return "";
  const std::string where = furthest < lines.size()
                                ? fmt::format("line {} is not expected: {}", furthest + 1, lines[furthest])
                                : "it ends too early";
  return fmt::format("{}\nexpected:\n{}\ngot:\n{}", where, pattern, text);
}

}  // namespace suture::test
