// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <ATen/Parallel.h>
#include <H5public.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <sstream>

#include "core/log.h"
#include "core/progress.h"

namespace suture::cli {
namespace {

namespace po = boost::program_options;
using Commands = std::span<const Command* const>;
using Groups = std::span<const Group>;

constexpr std::string_view kPositional = "suture-positional";
CapturedOutput* captured = nullptr;  // where emit() writes; stdout when null

// ---- help
// ----------------------------------------------------------------------------------------------------------------

po::options_description common_options() {
  po::options_description options("common options");
  options.add_options()("out", po::value<std::string>()->value_name("PATH"), "where the result goes")(
      "set", po::value<std::vector<std::string>>()->value_name("KEY=VALUE"),
      "override a key of the configuration; may be repeated")(
      "device", po::value<std::string>()->value_name("NAME")->default_value("cpu"), "cpu, cuda or cuda:N")(
      "dtype", po::value<std::string>()->value_name("NAME")->default_value("auto"),
      "arithmetic: auto, fp32, bf16 or fp16")("threads", po::value<int>()->value_name("N"), "threads of LibTorch")(
      "seed", po::value<std::string>()->value_name("N"), "seed of every random choice")(
      "check", po::bool_switch(), "validate the input and stop")("dry-run", po::bool_switch(),
                                                                 "do everything but write")(
      "schema", po::bool_switch(), "print the configuration's keys and stop")("json", po::bool_switch(), "print JSON")(
      "force", po::bool_switch(), "replace an existing output")("verbose,v", po::bool_switch(), "log more")(
      "quiet,q", po::bool_switch(), "log warnings only, no progress")("help,h", po::bool_switch(), "show this help")(
      "version", po::bool_switch(), "show versions");
  return options;
}

po::options_description own_options(const Command& command) {
  po::options_description options(fmt::format("options of {}", command.name));
  if (command.options != nullptr) command.options(options);
  return options;
}

std::string text_of(const po::options_description& options) {
  std::ostringstream text;
  text << options;
  return text.str();
}

bool in_group(const Command& command, std::string_view group) {
  return command.name.starts_with(group) && command.name.substr(group.size()).starts_with(' ');
}

std::string row(const Command& command, size_t width) {
  return fmt::format("  {:<{}}  {}\n", command.name, width, command.summary);
}

std::string command_list(Commands commands, Groups groups) {
  size_t width = 0;
  for (const Command* command : commands) width = std::max(width, command->name.size());
  std::string text;
  for (const Command* command : commands)
    if (command->name.find(' ') == std::string_view::npos) text += row(*command, width);
  for (const Group& group : groups) {
    std::string rows;
    for (const Command* command : commands)
      if (in_group(*command, group.name)) rows += row(*command, width);
    if (!rows.empty()) text += fmt::format("\n{}: {}\n{}", group.name, group.summary, rows);
  }
  return text;
}

std::string general_help(Commands commands, Groups groups) {
  return fmt::format(
      "suture edits, steers, patches and audits language-model checkpoints\n\n"
      "usage: suture COMMAND [ARGUMENTS] [OPTIONS]\n\n{}\n"
      "suture help COMMAND shows the options of a command; suture --version shows versions\n",
      command_list(commands, groups));
}

std::string command_help(const Command& command) {
  std::string text = fmt::format("usage: suture {}\n\n{}\n\n", command.usage, command.summary);
  const po::options_description own = own_options(command);
  if (!own.options().empty()) text += text_of(own) + "\n";
  return text + text_of(common_options());
}

std::string group_help(const Group& group, Commands commands) {
  const Group one[] = {group};
  std::vector<const Command*> members;
  std::copy_if(commands.begin(), commands.end(), std::back_inserter(members),
               [&](const Command* c) { return in_group(*c, group.name); });
  return fmt::format("usage: suture {} COMMAND [ARGUMENTS] [OPTIONS]\n{}", group.name, command_list(members, one));
}

std::string version_text() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("suture {}\nLibTorch {}\nHDF5 {}.{}.{}\nbuild {}\n", SUTURE_VERSION, TORCH_VERSION, major, minor,
                     release, SUTURE_BUILD_TYPE);
}

// ---- which command
// -------------------------------------------------------------------------------------------------------

const Command* find_command(Commands commands, std::string_view name) {
  const auto found = std::find_if(commands.begin(), commands.end(), [&](const Command* c) { return c->name == name; });
  return found == commands.end() ? nullptr : *found;
}

const Group* find_group(Groups groups, Commands commands, std::string_view name) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.name == name; });
  const bool used = std::any_of(commands.begin(), commands.end(), [&](const Command* c) { return in_group(*c, name); });
  return found == groups.end() || !used ? nullptr : &*found;
}

[[noreturn]] void unknown_command(const std::string& name, Commands commands, Groups groups) {
  std::vector<std::string> names;
  for (const Command* command : commands) names.emplace_back(command->name);
  for (const Group& group : groups)
    if (find_group(groups, commands, group.name) != nullptr) names.emplace_back(group.name);
  const std::string near = config::nearest(name, names);
  fail(Code::kUsage, "unknown command '{}'{} (suture --help lists them)", name,
       near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

struct Target {
  const Command* command = nullptr;
  const Group* group = nullptr;  // a group alone, for its help
  size_t words = 0;              // of the arguments that named it
};

Target find_target(const std::vector<std::string>& words, Commands commands, Groups groups) {
  const bool two = words.size() > 1 && !words[1].starts_with('-');
  if (two)
    if (const Command* command = find_command(commands, words[0] + " " + words[1]))
      return {.command = command, .words = 2};
  if (const Command* command = find_command(commands, words[0])) return {.command = command, .words = 1};
  const Group* group = find_group(groups, commands, words[0]);
  if (group == nullptr) unknown_command(words[0], commands, groups);
  if (two) unknown_command(words[0] + " " + words[1], commands, groups);
  return {.group = group, .words = 1};
}

// ---- arguments
// -----------------------------------------------------------------------------------------------------------

struct Arity {
  std::vector<std::string> required;
  size_t most = 0;
};

// Reads the usage line: see the head of cli.h.
Arity arity_of(const Command& command) {
  Arity arity;
  std::istringstream words{std::string(command.usage.substr(std::min(command.name.size(), command.usage.size())))};
  bool bracket = false;
  for (std::string word; words >> word;) {
    if (word.find("...") != std::string::npos) arity.most = SIZE_MAX;
    if (!bracket && (word.starts_with("--") || word.starts_with("[--"))) break;
    if (!bracket && arity.most < SIZE_MAX) ++arity.most;
    if (!bracket && !word.starts_with('[')) arity.required.push_back(word);
    bracket = (bracket || word.starts_with('[')) && word.find(']') == std::string::npos;
  }
  return arity;
}

// "--scale", "-1.5" becomes "--scale=-1.5": Boost would take the second for an option.
std::vector<std::string> join_negative_numbers(std::vector<std::string> arguments) {
  std::vector<std::string> joined;
  for (std::string& argument : arguments) {
    const bool number = argument.size() > 1 && argument[0] == '-' &&
                        (std::isdigit(static_cast<unsigned char>(argument[1])) || argument[1] == '.');
    if (number && !joined.empty() && joined.back().starts_with("--") && joined.back().size() > 2 &&
        joined.back().find('=') == std::string::npos)
      joined.back() += "=" + argument;
    else
      joined.push_back(std::move(argument));
  }
  return joined;
}

[[noreturn]] void unknown_option(const std::string& name, const Command& command,
                                 const po::options_description& options) {
  std::vector<std::string> names;
  for (const auto& option : options.options())
    if (option->long_name() != kPositional) names.push_back("--" + option->long_name());
  const std::string near = config::nearest(name, names);
  fail(Code::kUsage, "unknown option '{}'{} (suture {} --help lists them)", name,
       near.empty() ? "" : fmt::format("; did you mean '{}'?", near), command.name);
}

po::variables_map parse(const Command& command, const std::vector<std::string>& arguments) {
  po::options_description all = common_options();
  all.add(own_options(command));
  all.add_options()(kPositional.data(), po::value<std::vector<std::string>>(), "");
  po::positional_options_description positionals;
  positionals.add(kPositional.data(), -1);
  po::variables_map values;
  try {
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(join_negative_numbers(arguments))
                  .options(all)
                  .positional(positionals)
                  .style(style)
                  .run(),
              values);
    po::notify(values);
  } catch (const po::unknown_option& error) {
    unknown_option(error.get_option_name(), command, all);
  } catch (const po::error& error) {
    fail(Code::kUsage, "{} (suture {} --help shows the options)", error.what(), command.name);
  }
  return values;
}

uint64_t parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size())
    fail(Code::kUsage, "--seed wants an integer of at least 0, got '{}'", text);
  return seed;
}

Common common_of(const po::variables_map& values) {
  Common common;
  if (values.count("out") > 0) common.out = values["out"].as<std::string>();
  if (values.count("set") > 0) common.set = values["set"].as<std::vector<std::string>>();
  common.device = values["device"].as<std::string>();
  common.dtype = values["dtype"].as<std::string>();
  if (values.count("threads") > 0) {
    common.threads = values["threads"].as<int>();
    if (common.threads < 1 || common.threads > 4096)
      fail(Code::kUsage, "--threads must lie in [1, 4096], got {}", common.threads);
  }
  common.has_seed = values.count("seed") > 0;
  if (common.has_seed) common.seed = parse_seed(values["seed"].as<std::string>());
  common.check = values["check"].as<bool>();
  common.dry_run = values["dry-run"].as<bool>();
  common.json = values["json"].as<bool>();
  common.force = values["force"].as<bool>();
  return common;
}

void require_arity(const Command& command, const std::vector<std::string>& positionals) {
  const Arity arity = arity_of(command);
  if (positionals.size() < arity.required.size())
    fail(Code::kUsage, "missing {}; usage: suture {}", arity.required[positionals.size()], command.usage);
  if (positionals.size() > arity.most)
    fail(Code::kUsage, "one argument too many: '{}'; usage: suture {}", positionals[arity.most], command.usage);
}

Invocation invocation_of(const Command& command, const po::variables_map& values) {
  std::vector<std::string> positionals;
  if (values.count(kPositional.data()) > 0) positionals = values[kPositional.data()].as<std::vector<std::string>>();
  require_arity(command, positionals);
  return Invocation(command, common_of(values), std::move(positionals), values);
}

int run_command(const Command& command, const std::vector<std::string>& arguments) {
  const po::variables_map values = parse(command, arguments);
  if (values["help"].as<bool>()) return emit(command_help(command)), 0;
  if (values["version"].as<bool>()) return emit(version_text()), 0;
  if (values["schema"].as<bool>()) {
    if (command.schema == nullptr) fail(Code::kUsage, "'{}' takes no configuration file", command.name);
    return emit(command.schema()), 0;
  }
  const bool quiet = values["quiet"].as<bool>(), verbose = values["verbose"].as<bool>();
  if (quiet && verbose) fail(Code::kUsage, "--quiet and --verbose exclude each other");
  set_up_log(quiet ? -1 : verbose ? 1 : 0);
  set_progress_visible(!quiet);
  const Invocation invocation = invocation_of(command, values);
  if (invocation.common.threads > 0) at::set_num_threads(invocation.common.threads);
  return command.run(invocation);
}

int help(const std::vector<std::string>& words, Commands commands, Groups groups) {
  if (words.empty()) return emit(general_help(commands, groups)), 0;
  const Target target = find_target(words, commands, groups);
  emit(target.command != nullptr ? command_help(*target.command) : group_help(*target.group, commands));
  return 0;
}

int dispatch(const std::vector<std::string>& arguments, Commands commands, Groups groups) {
  set_up_log(0);
  if (arguments.empty()) fail(Code::kUsage, "missing command (suture --help lists them)");
  const std::string& first = arguments[0];
  if (first == "--help" || first == "-h" || first == "help")
    return help({arguments.begin() + 1, arguments.end()}, commands, groups);
  if (first == "--version") return emit(version_text()), 0;
  if (first.starts_with('-'))
    fail(Code::kUsage, "options come after the command, got '{}' first (suture --help lists commands)", first);
  const Target target = find_target(arguments, commands, groups);
  std::vector<std::string> rest{arguments.begin() + std::ptrdiff_t(target.words), arguments.end()};
  if (target.command != nullptr) return run_command(*target.command, rest);
  if (!rest.empty() && (rest[0] == "--help" || rest[0] == "-h")) return help({first}, commands, groups);
  fail(Code::kUsage, "'{}' needs a command (suture {} --help lists them)", first, first);
}

// ---- errors
// --------------------------------------------------------------------------------------------------------------

int report(Code code, std::string_view message) {
  fmt::print(stderr, "suture: {}\n", message);
  return int(code);
}

int report_bug(std::string_view what) {
  return report(Code::kBug,
                fmt::format("our bug: {}; please report it with the command line", what.substr(0, what.find('\n'))));
}

// LibTorch's CPU allocator throws a plain c10::Error when memory runs out.
int report_torch(const c10::Error& error) {
  const std::string_view what = error.what_without_backtrace();
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      what.find("allocate memory") != std::string_view::npos;
  if (memory) return report(Code::kResource, fmt::format("out of memory: {}", what.substr(0, what.find('\n'))));
  return report_bug(what);
}

}  // namespace

std::string Invocation::positional(size_t index, std::string_view what) const {
  if (index >= positionals_.size()) missing(std::string(what));
  return positionals_[index];
}

std::string Invocation::positional_or(size_t index, std::string otherwise) const {
  return index < positionals_.size() ? positionals_[index] : std::move(otherwise);
}

std::string Invocation::out(std::string_view what) const {
  if (common.out.empty()) missing(fmt::format("--out {}", what));
  return common.out;
}

config::Source Invocation::source(size_t index, std::string_view what) const {
  return config::read_source(positional(index, what), common.set);
}

void Invocation::missing(const std::string& what) const {
  fail(Code::kUsage, "missing {}; usage: suture {}", what, command_.usage);
}

CapturedOutput::CapturedOutput() { captured = this; }
CapturedOutput::~CapturedOutput() { captured = nullptr; }

int run_inside(const Command& command, const std::vector<std::string>& arguments) {
  const po::variables_map values = parse(command, arguments);
  for (const char* flag : {"help", "version", "schema", "quiet", "verbose"})
    if (values[flag].as<bool>()) fail(Code::kUsage, "--{} belongs to the command line, not to a stage", flag);
  const Invocation invocation = invocation_of(command, values);
  if (invocation.common.threads > 0) at::set_num_threads(invocation.common.threads);
  return command.run(invocation);
}

void emit(std::string_view text) {
  const bool newline = text.empty() || text.back() != '\n';
  if (captured != nullptr) {
    captured->text.append(text).append(newline ? "\n" : "");
    return;
  }
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && (!newline || std::fputc('\n', stdout) != EOF);
  if (!written || std::fflush(stdout) != 0) fail(Code::kResource, "cannot write to stdout: {}", std::strerror(errno));
}

int run(const std::vector<std::string>& arguments, Commands commands, Groups groups) {
  catch_interrupts();
  try {
    return dispatch(arguments, commands, groups);
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return report(Code::kResource, "out of memory; use a smaller batch or dtype, or a machine with more");
  } catch (const c10::Error& error) {
    return report_torch(error);
  } catch (const std::filesystem::filesystem_error& error) {
    return report(Code::kResource, error.what());
  } catch (const std::exception& error) {
    return report_bug(error.what());
  }
}

}  // namespace suture::cli
