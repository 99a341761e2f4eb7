// SPDX-License-Identifier: Apache-2.0
// The stages of an experiment: what each would run, and the digest of everything that decides its result.
#pragma once
#include <optional>

#include "tools/common.h"

namespace suture::cli {

struct StageConfig {
  std::string name, command, out;
  std::vector<std::string> arguments, set;

  template <class V>
  void visit(V& v) {
    v.required("name", name, "as messages call it", config::non_empty());
    v.required("command", command, "command of suture, such as 'edit apply'", config::non_empty());
    v.optional("arguments", arguments, "its arguments and options; what exists beside this file is a path");
    v.optional("out", out, "its --out, below the experiment's; none when left out");
    v.optional("set", set, "KEY=VALUE overrides of its configuration");
  }
  void check(config::Checker& checker) const;
};

struct ExperimentConfig {
  std::string name;
  fs::path out;
  std::vector<StageConfig> stages;

  template <class V>
  void visit(V& v) {
    v.optional("name", name, "of the experiment");
    v.optional("out", out, "folder of the results; --out overrides it");
    v.required("stages", stages, "run in order", config::non_empty());
  }
  void check(config::Checker& checker) const;
};

struct Folders {
  fs::path experiment;  // where relative paths of the experiment start
  fs::path configured;  // the experiment's own `out`
  fs::path out;         // where this run writes
};

struct Stage {
  std::string name;
  const Command* command = nullptr;
  std::vector<std::string> arguments;  // ready to run, without --out
  fs::path out;                        // empty: none
  std::string own_digest;              // of the stage alone; see chained_digest()
  std::string text() const;            // the command line
};

// `common` holds the flags that every stage inherits. Paths of a stage's configuration below the experiment's own `out`
// move with --out. The digest covers the program's version, the command, its arguments, the configuration and the files
// that it names, but nothing below `out`: that is for the digests of earlier stages. Error(kConfig) when the
// configuration cannot be read.
Stage make_stage(const StageConfig& config, const Folders& folders, const Common& common);

// Digest of a stage that follows `earlier` ones.
std::string chained_digest(const Stage& stage, const std::vector<std::string>& earlier);

}  // namespace suture::cli
