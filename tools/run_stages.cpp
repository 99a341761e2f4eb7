// SPDX-License-Identifier: Apache-2.0
#include "tools/run_stages.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "config/document.h"
#include "core/digest.h"
#include "tools/commands.h"

namespace suture::cli {
namespace {

using config::Node;

// Larger files are known by size and time: hashing models would take longer than many a stage.
constexpr uintmax_t kHashed = 64 << 20;

const Command* find(std::string_view name) {
  const auto table = commands();
  const auto found = std::find_if(table.begin(), table.end(), [&](const Command* c) { return c->name == name; });
  return found == table.end() ? nullptr : *found;
}

fs::path plain(const fs::path& path) { return fs::absolute(path).lexically_normal(); }

// "a/b" for "out/a/b" below "out"; nothing outside it.
std::optional<fs::path> below(const fs::path& path, const fs::path& folder) {
  if (folder.empty()) return std::nullopt;
  const fs::path relative = plain(path).lexically_relative(plain(folder / "."));
  if (relative.empty() || *relative.begin() == "..") return std::nullopt;
  return relative;
}

bool is_yaml(const std::string& name) { return name.ends_with(".yaml") || name.ends_with(".yml"); }

// A word that names something beside the experiment's file becomes its path.
std::string as_path(const std::string& word, const fs::path& folder) {
  std::error_code none;
  if (word.empty() || word.starts_with('-') || !fs::exists(folder / word, none)) return word;
  return (folder / word).lexically_normal().string();
}

std::string with_out(std::string text, const fs::path& out) {
  constexpr std::string_view kOut = "{out}";
  const std::string path = plain(out).string();
  for (size_t at = text.find(kOut); at != std::string::npos; at = text.find(kOut, at + path.size()))
    text.replace(at, kOut.size(), path);
  return text;
}

std::string ready_override(const std::string& text, const Folders& folders) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return text;
  const std::string value = with_out(text.substr(equals + 1), folders.out);
  const std::string path = as_path(value, folders.experiment);
  return text.substr(0, equals + 1) + (path == value ? value : plain(path).string());
}

using Visit = std::function<void(const Node& scalar, const std::string& key)>;

void walk(const Node& node, const std::string& key, const Visit& visit) {
  if (node.kind == Node::Kind::kScalar) visit(node, key);
  for (size_t i = 0; i < node.items.size(); ++i) walk(node.items[i], fmt::format("{}[{}]", key, i), visit);
  for (const Node::Entry& entry : node.entries)
    walk(entry.value, key.empty() ? entry.key : key + "." + entry.key, visit);
}

// The values, without comments and layout.
std::string values_of(const Node& root) {
  std::string text;
  walk(root, "", [&](const Node& scalar, const std::string& key) {
    text += fmt::format("{}={}\n", key, Json(scalar.scalar).dump());
  });
  return text;
}

int64_t time_of(const fs::path& path) { return int64_t(fs::last_write_time(path).time_since_epoch().count()); }

std::string file_mark(const fs::path& path) {
  const uintmax_t size = fs::file_size(path);
  return size <= kHashed ? sha256_file(path) : fmt::format("{} bytes at {}", size, time_of(path));
}

std::string folder_mark(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] =
          fmt::format("{} bytes at {}", entry.file_size(), time_of(entry.path()));
  return sha256(Json(files).dump());
}

// Collects what files a configuration names, and those that named YAML files name in turn.
class NamedFiles {
 public:
  explicit NamedFiles(const Folders& folders) : folders_(folders) {}

  void add_all(const config::Source& source) {
    const config::Document document(source);
    if (!document.readable()) return;
    walk(document.root(), "", [&](const Node& scalar, const std::string&) {
      add(scalar.scalar, scalar.place.origin > 0 ? fs::path(".") : source.folder);
    });
  }

  void add(const std::string& word, const fs::path& folder) {
    std::error_code none;
    if (word.empty() || word.size() > 4096 || word.find_first_not_of("./") == std::string::npos) return;
    const fs::path path = (folder / word).lexically_normal();
    if (below(path, folders_.out) || below(path, folders_.configured) || !fs::exists(path, none)) return;
    const fs::path real = fs::canonical(path);
    if (!seen_.insert(real.string()).second) return;
    if (fs::is_directory(real)) marks_[word] += folder_mark(real);
    if (!fs::is_regular_file(real)) return;
    marks_[word] += file_mark(real);
    if (is_yaml(word)) add_all(config::read_source(path));
  }

  std::string text() const { return Json(marks_).dump(); }

 private:
  const Folders& folders_;
  std::set<std::string> seen_;
  std::map<std::string, std::string> marks_;  // by the word as written: the digest does not know where a checkout lies
};

config::Source read_config(const fs::path& path, std::vector<std::string> overrides) {
  config::Source source = config::read_source(path, std::move(overrides));
  const config::Document document(source);
  if (!document.ok()) fail(Code::kConfig, "{}", document.report());
  return source;
}

// Overrides that move paths below the experiment's own `out` to where this run writes.
std::vector<std::string> moves(const config::Source& source, const Folders& folders) {
  std::vector<std::string> overrides;
  if (folders.configured.empty() || plain(folders.configured) == plain(folders.out)) return overrides;
  walk(config::Document(source).root(), "", [&](const Node& scalar, const std::string& key) {
    if (scalar.place.origin > 0 || scalar.scalar.find('/') == std::string::npos) return;
    if (const auto rest = below(source.folder / scalar.scalar, folders.configured))
      overrides.push_back(fmt::format("{}={}", key, plain(folders.out / *rest).string()));
  });
  return overrides;
}

void inherit(std::vector<std::string>& arguments, const Common& common) {
  const auto add = [&](const std::string& flag, const std::string& value) {
    const bool given = std::any_of(arguments.begin(), arguments.end(),
                                   [&](const std::string& a) { return a == flag || a.starts_with(flag + "="); });
    if (!given) arguments.insert(arguments.end(), {flag, value});
  };
  if (common.device != "cpu") add("--device", common.device);
  if (common.dtype != "auto") add("--dtype", common.dtype);
  if (common.has_seed) add("--seed", std::to_string(common.seed));
}

}  // namespace

void StageConfig::check(config::Checker& checker) const {
  if (find(command) == nullptr) {
    std::vector<std::string> names;
    for (const Command* each : commands()) names.emplace_back(each->name);
    const std::string near = config::nearest(command, names);
    checker.complain("command", fmt::format("is no command of suture{}",
                                            near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }
  checker.require(command != kRun.name, "command", "must not run an experiment within an experiment");
  checker.require(out.empty() || below(fs::path("x") / out, "x").value_or(".") != ".", "out",
                  "must lie below the experiment's out");
}

void ExperimentConfig::check(config::Checker& checker) const {
  for (size_t i = 0; i < stages.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      checker.require(stages[i].name != stages[j].name, fmt::format("stages[{}].name", i), "is used twice");
      checker.require(stages[i].out.empty() || stages[i].out != stages[j].out, fmt::format("stages[{}].out", i),
                      "is used twice");
    }
}

std::string Stage::text() const {
  std::string line = fmt::format("suture {}", command->name);
  std::vector<std::string> words = arguments;
  if (!out.empty()) words.insert(words.end(), {"--out", out.string()});
  for (const std::string& word : words)
    line +=
        word.find_first_of(" '\"$[]{}") == std::string::npos && !word.empty() ? " " + word : fmt::format(" '{}'", word);
  return line;
}

Stage make_stage(const StageConfig& config, const Folders& folders, const Common& common) {
  Stage stage{.name = config.name, .command = find(config.command)};
  Sha256 digest;
  digest.update(Json{SUTURE_VERSION, config.command, config.arguments, config.set}.dump());
  std::vector<std::string> overrides;
  for (const std::string& each : config.set) overrides.push_back(ready_override(each, folders));
  NamedFiles files(folders);
  bool configured = stage.command->schema == nullptr;  // the first YAML file is the configuration
  for (const std::string& written : config.arguments) {
    stage.arguments.push_back(as_path(with_out(written, folders.out), folders.experiment));
    const std::string& word = stage.arguments.back();
    if (configured || !is_yaml(word) || word.starts_with('-')) {
      files.add(written, folders.experiment);
      continue;
    }
    configured = true;
    config::Source source = read_config(word, overrides);
    digest.update(values_of(config::Document(config::Source{source.name, source.text, source.folder, {}}).root()));
    files.add_all(source);
    for (std::string& move : moves(source, folders)) overrides.push_back(std::move(move));
  }
  for (const std::string& each : overrides) stage.arguments.insert(stage.arguments.end(), {"--set", each});
  std::vector<std::string> inherited;
  const size_t before = stage.arguments.size();
  inherit(stage.arguments, common);
  inherited.assign(stage.arguments.begin() + std::ptrdiff_t(before), stage.arguments.end());
  digest.update(Json(inherited).dump()).update(files.text());
  if (!config.out.empty()) stage.out = (folders.out / config.out).lexically_normal();
  stage.own_digest = digest.hex();
  return stage;
}

std::string chained_digest(const Stage& stage, const std::vector<std::string>& earlier) {
  Sha256 digest;
  for (const std::string& each : earlier) digest.update(each);
  return digest.update(stage.own_digest).hex();
}

}  // namespace suture::cli
