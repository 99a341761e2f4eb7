// SPDX-License-Identifier: Apache-2.0
// The rules of lib/README.md, read from its table and held against the sources. Each rule is shown to bite first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "architecture/source_tree.h"

namespace suture::architecture {
namespace {

using Complaints = std::vector<std::string>;
using Ranks = std::map<std::string, Rank>;

const Ranks& ranks() {
  static const Ranks table = rank_table(read_text(fs::path(SUTURE_SOURCE_DIR) / "lib/README.md"));
  return table;
}

const std::vector<SourceFile>& tree() {
  static const std::vector<SourceFile> files = source_files(SUTURE_SOURCE_DIR);
  return files;
}

// Looks at every line of a file that `applies`.
template <class Applies, class Look>
Complaints look_through(const std::vector<SourceFile>& files, const Applies& applies, const Look& look) {
  Complaints complaints;
  for (const SourceFile& file : files) {
    if (!applies(file)) continue;
    const auto lines = file.lines();
    for (size_t i = 0; i < lines.size(); ++i)
      if (const std::string what = look(file, lines[i]); !what.empty())
        complaints.push_back(file.path.string() + ":" + std::to_string(i + 1) + ": " + what);
  }
  return complaints;
}

bool is_product(const SourceFile& file) { return file.is_cpp() && !file.folder().empty(); }

// The included file between quotes, or "".
std::string quoted_include(const std::string& line) {
  static const std::regex kInclude(R"re(\s*#\s*include\s*"([^"]+)".*)re");
  std::smatch match;
  return std::regex_match(line, match, kInclude) ? match[1].str() : "";
}

Complaints upward_includes(const std::vector<SourceFile>& files) {
  return look_through(files, is_product, [](const SourceFile& file, const std::string& line) -> std::string {
    const std::string included = quoted_include(line);
    if (included.find('/') == std::string::npos) return "";
    const std::string from = file.folder(), to = included.substr(0, included.find('/'));
    if (!ranks().contains(from)) return "folder '" + from + "' has no rank in lib/README.md";
    if (from == to || !ranks().contains(to)) return "";
    if (ranks().at(to).rank < ranks().at(from).rank) return "";
    return "'" + from + "' must not include '" + included + "'";
  });
}

Complaints forbidden_torch(const std::vector<SourceFile>& files) {
  static const std::regex kTorch(R"(\s*#\s*include\s*[<"](torch|ATen|c10)/.*)");
  return look_through(files, is_product, [](const SourceFile& file, const std::string& line) -> std::string {
    const auto rank = ranks().find(file.folder());
    const bool forbidden = rank != ranks().end() && !rank->second.torch && std::regex_match(line, kTorch);
    return forbidden ? "'" + file.folder() + "' must not include torch" : "";
  });
}

// A method may include its own header and headers that have no .cpp (interfaces); the registry lists all of them.
Complaints methods_that_include_methods(const std::vector<SourceFile>& files) {
  std::set<std::string> methods;
  for (const SourceFile& file : files)
    if (file.folder() == "methods" && file.path.extension() == ".cpp") methods.insert(file.path.stem().string());
  methods.erase("registry");
  const auto applies = [](const SourceFile& file) {
    return is_product(file) && file.folder() == "methods" && file.path.stem() != "registry";
  };
  return look_through(files, applies, [&](const SourceFile& file, const std::string& line) -> std::string {
    const fs::path included = quoted_include(line);
    const std::string stem = included.stem().string();
    if (!included.string().starts_with("methods/") || stem == file.path.stem() || !methods.contains(stem)) return "";
    return "a method must not include another: '" + included.string() + "'";
  });
}

// "llama3" is a kind of rope scaling and llama.cpp an engine: neither names a family.
Complaints named_families(const std::vector<SourceFile>& files) {
  static const std::regex kFamily(
      R"re("(?:[^"\\]|\\.)*\b(llama(?!\.cpp)|gpt2|gptj|gpt_neox|gpt_oss|mistral|mixtral|qwen\d?|gemma\d?|phi\d?|olmo\d?|falcon|bloom|starcoder\d?|granite|stablelm|smollm\d|glm\d)\b)re",
      std::regex::icase);
  static const std::set<std::string> kFolders = {"model", "decode", "steps", "methods", "audit", "hook", "tools"};
  const auto applies = [](const SourceFile& file) {
    return is_product(file) && kFolders.contains(file.folder()) &&
           !file.path.filename().string().starts_with("family_");
  };
  return look_through(files, applies, [](const SourceFile&, const std::string& line) -> std::string {
    std::smatch match;
    const std::string code = line.substr(0, line.find("//"));
    return std::regex_search(code, match, kFamily) ? "family '" + match[1].str() + "' is named outside the family table"
                                                   : "";
  });
}

Complaints writes_to_stdout(const std::vector<SourceFile>& files) {
  static const std::regex kPrint(
      R"((std::cout|\bstdout\b|\bprintf\s*\(|\bputs\s*\(|\bputchar\s*\(|fmt::print\s*\(\s*(?!stderr)))");
  const auto applies = [](const SourceFile& file) { return is_product(file) && file.folder() != "tools"; };
  return look_through(files, applies, [](const SourceFile&, const std::string& line) -> std::string {
    return std::regex_search(line.substr(0, line.find("//")), kPrint) ? "only tools/ writes to stdout" : "";
  });
}

Complaints without_licence(const std::vector<SourceFile>& files) {
  static const std::set<std::string> kKinds = {".h", ".cpp", ".rs", ".py"};
  Complaints complaints;
  for (const SourceFile& file : files) {
    const std::string first = file.lines().front();
    const std::string mark = file.path.extension() == ".py" ? "# " : "// ";
    if (kKinds.contains(file.path.extension().string()) &&
        !first.starts_with(mark + "SPDX-License-Identifier: Apache-2.0"))
      complaints.push_back(file.path.string() + ": the first line must be the SPDX line");
  }
  return complaints;
}

// Machines and hosts that the sources must not depend on. Split, so that this file does not name them.
Complaints foreign_places(const std::vector<SourceFile>& files) {
  static const std::vector<std::string> kPlaces = {
      "/tm"
      "p/",
      "/wor"
      "k/",
      "shar"
      "ed/",
      "/ro"
      "ot/",
      "/ho"
      "me/",
      "pypi.o"
      "rg",
      "pythonhos"
      "ted",
      "crates.i"
      "o",
      "rustup.r"
      "s",
      "deb.debian.o"
      "rg"};
  const auto applies = [](const SourceFile& file) { return file.path.extension() != ".lock"; };
  return look_through(files, applies, [](const SourceFile&, const std::string& line) -> std::string {
    for (const std::string& place : kPlaces)
      if (line.find(place) != std::string::npos) return "names '" + place + "'";
    return "";
  });
}

std::string listed(const Complaints& complaints) {
  std::string text;
  for (const std::string& complaint : complaints) text += "\n  " + complaint;
  return text;
}

TEST(RankTable, HasEveryFolderOfLibAndNoOther) {
  std::set<std::string> found = {"tools"}, listed_folders;
  for (const auto& entry : fs::directory_iterator(fs::path(SUTURE_SOURCE_DIR) / "lib"))
    if (entry.is_directory()) found.insert(entry.path().filename().string());
  for (const auto& [folder, rank] : ranks()) listed_folders.insert(folder);
  EXPECT_THAT(listed_folders, testing::IsSupersetOf(found));
  EXPECT_EQ(ranks().at("core").rank, 0);
}

TEST(Rules, Bite) {
  EXPECT_THAT(upward_includes({{"lib/core/a.h", "#include \"config/fields.h\"\n"}}),
              testing::ElementsAre("lib/core/a.h:1: 'core' must not include 'config/fields.h'"));
  EXPECT_THAT(upward_includes({{"lib/io/a.h", "\n#include \"text/x.h\"\n"}}), testing::SizeIs(1));  // sideways
  EXPECT_THAT(upward_includes({{"lib/new/a.h", "#include \"core/x.h\"\n"}}), testing::SizeIs(1));
  EXPECT_THAT(forbidden_torch({{"lib/text/a.h", "#include <ATen/core/Tensor.h>"}}), testing::SizeIs(1));
  EXPECT_THAT(
      methods_that_include_methods({{"lib/methods/a.cpp", "#include \"methods/b.h\""}, {"lib/methods/b.cpp", ""}}),
      testing::SizeIs(1));
  EXPECT_THAT(named_families({{"lib/decode/a.cpp", "if (family == \"gpt2\") {"}}), testing::SizeIs(1));
  EXPECT_THAT(writes_to_stdout({{"lib/io/a.cpp", "fmt::print(\"x\");"}, {"lib/io/b.cpp", "std::printf(\"x\");"}}),
              testing::SizeIs(2));
  EXPECT_THAT(without_licence({{"lib/io/a.cpp", "// hello"}}), testing::SizeIs(1));
  EXPECT_THAT(foreign_places({{"README.md", std::string("see /wor") + "k/main"}}), testing::SizeIs(1));
}

TEST(Rules, LeaveAloneWhatIsAllowed) {
  EXPECT_THAT(
      upward_includes({{"lib/io/a.h", "#include \"core/x.h\"\n#include \"io/y.h\"\n#include <yaml-cpp/yaml.h>\n"}}),
      testing::IsEmpty());
  EXPECT_THAT(
      methods_that_include_methods({{"lib/methods/a.cpp", "#include \"methods/a.h\"\n#include \"methods/types.h\""}}),
      testing::IsEmpty());
  EXPECT_THAT(named_families({{"lib/model/family_gpt.cpp", "\"gpt2\""},
                              {"lib/model/a.cpp", "\"llama3\"; \"llama.cpp\"  // \"gpt2\""}}),
              testing::IsEmpty());
  EXPECT_THAT(
      writes_to_stdout(
          {{"lib/io/a.cpp", "fmt::print(stderr, \"x\"); std::fprintf(stderr, \"y\"); std::snprintf(b, 1, \"z\");"}}),
      testing::IsEmpty());
}

TEST(Sources, IncludeDownwardsOnly) { EXPECT_EQ(listed(upward_includes(tree())), ""); }
TEST(Sources, KeepTorchOutOfTheFoldersWithoutIt) { EXPECT_EQ(listed(forbidden_torch(tree())), ""); }
TEST(Sources, KeepMethodsApart) { EXPECT_EQ(listed(methods_that_include_methods(tree())), ""); }
TEST(Sources, NameFamiliesInTheFamilyTableOnly) { EXPECT_EQ(listed(named_families(tree())), ""); }
TEST(Sources, WriteToStdoutFromToolsOnly) { EXPECT_EQ(listed(writes_to_stdout(tree())), ""); }
TEST(Sources, CarryTheLicence) { EXPECT_EQ(listed(without_licence(tree())), ""); }
TEST(Sources, NameNoMachineAndNoHost) { EXPECT_EQ(listed(foreign_places(tree())), ""); }

}  // namespace
}  // namespace suture::architecture
