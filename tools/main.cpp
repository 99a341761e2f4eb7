// SPDX-License-Identifier: Apache-2.0
// The command table. To add a command: define its row in tools/<group>/<name>.cpp, declare it in tools/commands.h, list
// it here.
#include "tools/cli.h"
#include "tools/commands.h"

using namespace suture::cli;

namespace suture::cli {

std::span<const Command* const> commands() {
  static constexpr const Command* kTable[] = {
      &kInspect,       &kConvert,        &kGenerate,     &kScore,         &kRun,       &kEditApply, &kEditUndo, &kEditCovariance,
      &kEditEvaluate,  &kExtractAmplify, &kExtractShow,  &kPatchPlan,     &kPatchBake, &kAuditRun,  &kAuditReport,
      &kAuditCompare};
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

}  // namespace

int main(int argc, char** argv) { return run({argv + (argc > 0 ? 1 : 0), argv + argc}, commands(), kGroups); }
