// SPDX-License-Identifier: Apache-2.0
// A finished journal as report.json and its pages.
#pragma once
#include "tools/audit/audit_run.h"

namespace suture::cli {

// The document of audit/summary.h with title, settings, edits, changes, stages and gates. Every subject must be done.
Json make_report(const AuditConfig& config, const audit::Journal& journal, const Json& settings);

// report.json, report.md, report.html and charts.
void write_report(const fs::path& folder, const Json& report);

}  // namespace suture::cli
