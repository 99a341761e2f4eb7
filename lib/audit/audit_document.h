// SPDX-License-Identifier: Apache-2.0
// report.json as a page for people: everything shown comes from the JSON alone.
//
// Besides what summary.h and gates.h write, these optional keys are shown:
//   "title": string
//   "changes": [{"subject", "what", "facts": {name: value}, "tensors": [{"name", "norm", "relative_norm", "before",
//   "after"}]}] "settings": {name: value}          "stages": [{"name", "seconds"}]          "subjects.<name>.about":
//   string
#pragma once
#include "core/json.h"
#include "report/document.h"

namespace suture::audit {

report::Document audit_document(const Json& report);

// The table of subjects and measures, for the terminal and the page.
report::Table subjects_table(const Json& report);

}  // namespace suture::audit
