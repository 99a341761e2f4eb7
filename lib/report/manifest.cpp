// SPDX-License-Identifier: Apache-2.0
#include "report/manifest.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <ctime>
#include <fstream>
#include <thread>

#include "core/digest.h"
#include "core/file.h"

namespace suture::report {
namespace {

std::string now() {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

bool names_a_secret(std::string_view argument) {
  std::string name(argument.substr(0, argument.find('=')));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto ends_with_word = [&](std::string_view word) {
    return name.ends_with(word) &&
           (name.size() == word.size() ||
            std::string_view("-_.").find(name[name.size() - word.size() - 1]) != std::string_view::npos);
  };
  return ends_with_word("token") || ends_with_word("key") || ends_with_word("password") || ends_with_word("secret");
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(std::min(line.find(": ") + 2, line.size()));
  }
  return {};
}

}  // namespace

Json machine_facts() {
  Json facts = Json::object();
  if (const std::string cpu = cpu_model(); !cpu.empty()) facts["cpu"] = cpu;
  facts["cores"] = std::thread::hardware_concurrency();
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page > 0) facts["memory_bytes"] = static_cast<int64_t>(pages) * page;
  if (utsname system{}; uname(&system) == 0)
    facts["system"] = fmt::format("{} {} {}", system.sysname, system.release, system.machine);
  return facts;
}

Manifest::Manifest(std::string command)
    : json_{{"tool", "suture"},        {"version", SUTURE_VERSION},  {"command", std::move(command)},
            {"started", now()},        {"arguments", Json::array()}, {"config", nullptr},
            {"seeds", Json::object()}, {"inputs", Json::array()},    {"outputs", Json::array()},
            {"stages", Json::array()}, {"machine", machine_facts()}, {"notes", Json::object()}} {}

Manifest& Manifest::arguments(const std::vector<std::string>& argv) {
  Json shown = Json::array();
  bool hide_next = false;
  for (const std::string& argument : argv) {
    const size_t equals = argument.find('=');
    const bool secret = names_a_secret(argument);
    shown.push_back(hide_next                           ? "***"
                    : secret && equals != argument.npos ? argument.substr(0, equals) + "=***"
                                                        : argument);
    hide_next = !hide_next && secret && equals == argument.npos && argument.starts_with("--");
  }
  json_["arguments"] = std::move(shown);
  return *this;
}

Manifest& Manifest::config(Json resolved) {
  json_["config"] = std::move(resolved);
  return *this;
}

Manifest& Manifest::seed(const std::string& name, uint64_t value) {
  json_["seeds"][name] = value;
  return *this;
}

Manifest& Manifest::input(const std::string& name, const std::filesystem::path& file) {
  return input(name, file, sha256_file(file));
}

Manifest& Manifest::input(const std::string& name, const std::filesystem::path& path, const std::string& sha256) {
  json_["inputs"].push_back({{"name", name}, {"path", path.string()}, {"sha256", sha256}});
  return *this;
}

Manifest& Manifest::output(const std::filesystem::path& file, const std::filesystem::path& root) {
  json_["outputs"].push_back({{"path", file.lexically_relative(root).string()},
                              {"bytes", fs::file_size(file)},
                              {"sha256", sha256_file(file)}});
  return *this;
}

Manifest& Manifest::stage(const std::string& name, double seconds, Json details) {
  Json entry = {{"name", name}, {"seconds", seconds}};
  if (!details.empty()) entry["details"] = std::move(details);
  json_["stages"].push_back(std::move(entry));
  return *this;
}

Manifest& Manifest::machine(const std::string& key, Json value) {
  json_["machine"][key] = std::move(value);
  return *this;
}

Manifest& Manifest::note(const std::string& key, Json value) {
  json_["notes"][key] = std::move(value);
  return *this;
}

Json Manifest::json() const {
  Json finished = json_;
  finished["finished"] = now();
  return finished;
}

void Manifest::write(const std::filesystem::path& folder) const {
  write_atomically(folder / "manifest.json", to_text(json()));
}

}  // namespace suture::report
