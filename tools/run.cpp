// SPDX-License-Identifier: Apache-2.0
// suture run: the stages of an experiment, one after the other in this process. Finished ones are known by the digest
// of all that decides them and left alone; OUT/stages.json is the record.
#include <fmt/chrono.h>

#include <algorithm>
#include <chrono>

#include "core/log.h"
#include "core/progress.h"
#include "tools/commands.h"
#include "tools/run_stages.h"

namespace suture::cli {
namespace {

// One entry of stages.json. Without `exit_code` the stage began and did not end.
struct Record {
  std::string name, command, digest, started;
  double seconds = 0;
  std::optional<int> exit_code;
  std::string printed;

  bool finished() const { return exit_code == int(Code::kDone) || exit_code == int(Code::kGate); }
  Json to_json() const {
    return {{"name", name},       {"command", command}, {"digest", digest},
            {"started", started}, {"seconds", seconds}, {"exit_code", exit_code ? Json(*exit_code) : Json(nullptr)},
            {"printed", printed}};
  }
};

Record record_from(const Json& json) {
  Record record{json.at("name"),    json.at("command"), json.at("digest"), json.at("started"),
                json.at("seconds"), std::nullopt,       json.at("printed")};
  if (!json.at("exit_code").is_null()) record.exit_code = json.at("exit_code").get<int>();
  return record;
}

class Records {
 public:
  explicit Records(const fs::path& out) : path_(out / "stages.json") {
    if (!fs::exists(path_)) return;
    const Json json = read_json(path_);
    try {
      for (const Json& each : json.at("stages")) records_.push_back(record_from(each));
    } catch (const Json::exception& error) {
      fail(Code::kData, "cannot read {}: {}; delete it to run every stage again", path_.string(), error.what());
    }
  }

  const Record* find(const std::string& name) const {
    const auto found = std::find_if(records_.begin(), records_.end(), [&](const Record& r) { return r.name == name; });
    return found == records_.end() ? nullptr : &*found;
  }

  void put(const Record& record) {
    const auto found =
        std::find_if(records_.begin(), records_.end(), [&](const Record& r) { return r.name == record.name; });
    if (found == records_.end())
      records_.push_back(record);
    else
      *found = record;
    Json stages = Json::array();
    for (const Record& each : records_) stages.push_back(each.to_json());
    fs::create_directories(path_.parent_path());
    write_atomically(path_, to_text({{"stages", stages}}));
  }

 private:
  fs::path path_;
  std::vector<Record> records_;
};

struct Decision {
  bool run = true, force = false;
  std::string why;
};

// An audit goes on inside its own folder, so what a killed one left must not be forced away.
bool resumes(const Stage& stage) { return stage.command == &kAuditRun; }

Decision decide(const Stage& stage, const Record* record, const std::string& digest, bool force) {
  const bool there = !stage.out.empty() && fs::exists(stage.out);
  const bool same = record != nullptr && record->digest == digest;
  if (force) return {true, there, "--force"};
  if (record == nullptr && !there) return {true, false, "never run"};
  // Without --force the command itself refuses to replace what no run of ours made.
  if (record == nullptr)
    return {true, false,
            resumes(stage) ? "no record of it; goes on with what is there" : "no record of it, but its output exists"};
  if (!same) return {true, there, "its inputs changed"};
  if (!record->finished()) return {true, there && !resumes(stage), "not finished last time"};
  if (!stage.out.empty() && !there) return {true, false, "its output is gone"};
  return {false, false, "nothing changed"};
}

std::string now() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
}

int run_stage(const Stage& stage, bool force, std::string& printed) {
  std::vector<std::string> arguments = stage.arguments;
  if (!stage.out.empty()) arguments.insert(arguments.end(), {"--out", stage.out.string()});
  if (force) arguments.emplace_back("--force");
  CapturedOutput output;
  try {
    const int code = run_inside(*stage.command, arguments);
    printed = std::move(output.text);
    return code;
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("stage '{}' failed: {}", stage.name, error.what()));
  } catch (const std::exception&) {
    spdlog::error("stage '{}' failed", stage.name);
    throw;
  }
}

// Runs one stage; the record says so before, so that a killed one is known, and after.
Record perform(const Stage& stage, const std::string& digest, bool force, Records& records) {
  Record record{stage.name, stage.text(), digest, now()};
  records.put(record);
  spdlog::info("stage '{}': {}", stage.name, stage.text());
  const Stopwatch watch;
  try {
    record.exit_code = run_stage(stage, force, record.printed);
  } catch (const Error& error) {
    record.exit_code = int(error.code());
    record.seconds = watch.seconds();
    records.put(record);
    throw;
  }
  record.seconds = watch.seconds();
  records.put(record);
  if (!record.finished())
    throw Error(Code(*record.exit_code),
                fmt::format("stage '{}' failed with exit code {}", stage.name, *record.exit_code));
  return record;
}

struct Experiment {
  std::vector<Stage> stages;
  fs::path out;
};

Experiment read_experiment(const Invocation& invocation) {
  const config::Source source = invocation.source();
  auto config = config::load<ExperimentConfig>(source);
  config::resolve_paths(config, source.folder);
  const fs::path configured = config.out.lexically_normal();
  const fs::path out = invocation.common.out.empty() ? configured : fs::path(invocation.common.out).lexically_normal();
  if (out.empty()) invocation.out();
  Experiment experiment{{}, out};
  for (const StageConfig& stage : config.stages)
    experiment.stages.push_back(
        make_stage(stage, {source.folder.empty() ? fs::path(".") : source.folder, configured, out}, invocation.common));
  return experiment;
}

int check(const Experiment& experiment) {
  for (const Stage& stage : experiment.stages) {
    Stage only = stage;
    only.arguments.emplace_back("--check");
    std::string printed;
    if (const int code = run_stage(only, false, printed); code != 0) return code;
  }
  return 0;
}

// One row a stage: what was done, how long it took, whether now or before.
std::string row(const Record& record, const Decision& decision, size_t width) {
  const char* end = record.exit_code == int(Code::kGate) ? ", a gate failed" : "";
  return fmt::format("{:<{}}  {:>8.1f} s  {}{}\n", record.name, width, record.seconds,
                     decision.run ? "done" : "done before, " + decision.why, end);
}

size_t name_width(const Experiment& experiment) {
  size_t width = 0;
  for (const Stage& stage : experiment.stages) width = std::max(width, stage.name.size());
  return width;
}

int dry_run(const Experiment& experiment, const Records& records, const Common& common) {
  std::vector<std::string> digests;
  Json rows = Json::array();
  std::string text;
  for (const Stage& stage : experiment.stages) {
    const std::string digest = chained_digest(stage, digests);
    digests.push_back(digest);
    const Decision decision = decide(stage, records.find(stage.name), digest, common.force);
    const std::string line = stage.text() + (decision.run && decision.force ? " --force" : "");
    text += fmt::format("{:<{}}  {} ({})\n  {}\n", stage.name, name_width(experiment),
                        decision.run ? "would run" : "would be skipped", decision.why, line);
    rows.push_back(
        {{"name", stage.name}, {"command", line}, {"runs", decision.run}, {"why", decision.why}, {"digest", digest}});
  }
  emit(common.json ? to_text(rows) : text);
  return 0;
}

int run(const Invocation& invocation) {
  const Experiment experiment = read_experiment(invocation);
  if (invocation.common.check) return check(experiment);
  Records records(experiment.out);
  if (invocation.common.dry_run) return dry_run(experiment, records, invocation.common);
  std::vector<std::string> digests;
  Json rows = Json::array();
  std::string text, last;
  Code code = Code::kDone;
  for (const Stage& stage : experiment.stages) {
    throw_if_interrupted();
    const std::string digest = chained_digest(stage, digests);
    digests.push_back(digest);
    const Record* before = records.find(stage.name);
    const Decision decision = decide(stage, before, digest, invocation.common.force);
    const Record record = decision.run ? perform(stage, digest, decision.force, records) : *before;
    if (record.exit_code == int(Code::kGate)) code = Code::kGate;
    text += row(record, decision, name_width(experiment));
    rows.push_back(record.to_json());
    last = record.printed;
  }
  emit(invocation.common.json ? to_text({{"out", experiment.out.string()}, {"exit_code", int(code)}, {"stages", rows}})
                              : text + "\n" + last);
  return int(code);
}

}  // namespace

const Command kRun = {.name = "run",
                      .usage = "run EXPERIMENT [--out DIR]",
                      .summary = "run the stages of an experiment; finished ones are left alone",
                      .run = run,
                      .schema = &config::schema<ExperimentConfig>};

}  // namespace suture::cli
