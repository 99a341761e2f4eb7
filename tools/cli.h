// SPDX-License-Identifier: Apache-2.0
// The command line: commands as table rows, flags that every command takes, errors to exit codes.
//
// A command is one `const Command` in tools/<group>/<name>.cpp, declared in tools/commands.h and listed in
// tools/main.cpp. Its `usage` says how many arguments it takes: "edit apply CONFIG --out DIR", "score MODEL [TEXT]".
// Words before the first option count; brackets make them optional, "..." lifts the limit.
#pragma once
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <boost/program_options/variables_map.hpp>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "core/error.h"
#include "core/json.h"

namespace suture::cli {

class Invocation;

struct Command {
  std::string_view name;                                                    // "inspect", "edit apply"
  std::string_view usage;                                                   // "edit apply CONFIG --out DIR"
  std::string_view summary;                                                 // one line, lower case, no full stop
  void (*options)(boost::program_options::options_description&) = nullptr;  // the command's own flags
  int (*run)(const Invocation&) = nullptr;                                  // returns the exit code
  std::string (*schema)() = nullptr;  // what --schema prints: &config::schema<MyConfig>
};

struct Group {
  std::string_view name, summary;
};

// What every command takes. A command that cannot honour one of these says so: fail(Code::kUsage, ...).
struct Common {
  std::string out;               // --out
  std::vector<std::string> set;  // --set, in order
  std::string device = "cpu";
  std::string dtype = "auto";
  int threads = 0;  // 0: LibTorch's choice
  uint64_t seed = 0;
  bool has_seed = false;
  bool check = false;    // validate only
  bool dry_run = false;  // everything but writing
  bool json = false;     // JSON on stdout instead of text
  bool force = false;    // replace an existing output
};

class Invocation {
 public:
  Invocation(const Command& command, Common common, std::vector<std::string> positionals,
             boost::program_options::variables_map values)
      : common(std::move(common)),
        command_(command),
        positionals_(std::move(positionals)),
        values_(std::move(values)) {}

  const Common common;

  // Options of the command's own.
  bool has(const std::string& name) const { return values_.count(name) > 0 && !values_[name].defaulted(); }
  bool flag(const std::string& name) const {
    return values_.count(name) > 0 && values_[name].as<bool>();
  }  // bool_switch()
  template <class T>
  T get(const std::string& name) const {  // Error(kUsage) when neither given nor defaulted
    if (values_.count(name) == 0) missing("--" + name);
    return values_[name].as<T>();
  }
  template <class T>
  T get(const std::string& name, T otherwise) const {
    return values_.count(name) == 0 ? otherwise : values_[name].as<T>();
  }

  // `what` is the word that the usage line has for it.
  std::string positional(size_t index, std::string_view what) const;
  std::string positional_or(size_t index, std::string otherwise) const;
  const std::vector<std::string>& positionals() const { return positionals_; }
  std::string out(std::string_view what = "DIR") const;                             // --out, or Error(kUsage)
  config::Source source(size_t index = 0, std::string_view what = "CONFIG") const;  // with --set applied on loading
  std::string_view command() const { return command_.name; }

 private:
  [[noreturn]] void missing(const std::string& what) const;
  const Command& command_;
  std::vector<std::string> positionals_;
  boost::program_options::variables_map values_;
};

// Results go to stdout through these. Error(kResource) when stdout cannot be written.
void emit(std::string_view text);  // adds a final newline where there is none
template <std::same_as<Json> T>    // a template, because a string converts to Json too
void emit(const T& value) {
  emit(std::string_view(to_text(value)));
}

// While one lives, emit() appends to its text instead of printing. They do not nest.
class CapturedOutput {
 public:
  CapturedOutput();
  ~CapturedOutput();
  CapturedOutput(const CapturedOutput&) = delete;
  CapturedOutput& operator=(const CapturedOutput&) = delete;
  std::string text;
};

// Runs one command from within another: arguments as from a shell, without its name. The log stays as it is; errors are
// thrown. Returns the exit code.
int run_inside(const Command& command, const std::vector<std::string>& arguments);

// Parses, runs, reports: the whole of main. `arguments` without the program's name.
int run(const std::vector<std::string>& arguments, std::span<const Command* const> commands,
        std::span<const Group> groups);

}  // namespace suture::cli
