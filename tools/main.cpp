// SPDX-License-Identifier: Apache-2.0
// The command table. To add a command: define its row in tools/<group>/<name>.cpp, declare it in tools/commands.h, list
// it here.
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "tools/cli.h"
#include "tools/commands.h"

using namespace suture::cli;

namespace suture::cli {

std::span<const Command* const> commands() {
  static constexpr const Command* kTable[] = {&kInspect,      &kConvert,        &kGenerate,    &kScore,
                                              &kRun,          &kEditApply,      &kEditUndo,    &kEditCovariance,
                                              &kEditEvaluate, &kExtractAmplify, &kExtractShow, &kPatchPlan,
                                              &kPatchBake,    &kAuditRun,       &kAuditReport, &kAuditCompare};
  return kTable;
}

}  // namespace suture::cli

namespace {

constexpr Group kGroups[] = {
    {"edit", "change what a model holds to be true, and undo it"},
    {"extract", "find vectors that carry a behaviour"},
    {"patch", "put a vector to use: at decode time or in the weights"},
    {"audit", "measure what a model refuses, before and after"},
};

// A worker thread of LibTorch spins while it waits for the others, by default for milliseconds. On a busy machine it
// then takes the processor from the very thread that it waits for: four times slower with one other process on two
// cores, and idle machines gain nothing. OpenMP reads the setting before main, so the program starts itself once more.
void spin_briefly(char** argv) {
  const char* threads = std::getenv("OMP_NUM_THREADS");
  const bool alone = threads != nullptr && std::string_view(threads) == "1";
  if (alone || std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  std::error_code absent;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", absent);
  if (!absent) ::execv(program.c_str(), argv);  // goes on as it is where that fails
}

}  // namespace

int main(int argc, char** argv) {
  spin_briefly(argv);
  // A freed model goes back to the system instead of staying as a heap that the next one does not quite fit into: an
  // audit of three subjects peaked a quarter higher.
  ::mallopt(M_TRIM_THRESHOLD, 4 << 20);
  return run({argv + (argc > 0 ? 1 : 0), argv + argc}, commands(), kGroups);
}
