// SPDX-License-Identifier: Apache-2.0
// Every command's row. Include this where a row is defined, so that it has external linkage.
#pragma once
#include "tools/cli.h"

namespace suture::cli {

extern const Command kInspect, kConvert, kGenerate, kScore;
extern const Command kEditApply, kEditUndo, kEditCovariance, kEditEvaluate;
extern const Command kExtractAmplify, kExtractShow;
extern const Command kPatchPlan, kPatchBake;
extern const Command kAuditRun, kAuditReport, kAuditCompare;
extern const Command kRun;

std::span<const Command* const> commands();  // the table, in main.cpp

}  // namespace suture::cli
