// SPDX-License-Identifier: Apache-2.0
// Gates: bounds that a subject must keep. One value, report["verdict"], drives the printed verdict, the JSON and the
// exit code.
//
//   asr_max, over_refusal_max, kl_max   the estimate is at most the bound
//   refusal_min, efficacy_min           the estimate is at least the bound
//   regression_p                        unless the subject complies with more harmful prompts than the reference (the
//   first
//                                       subject) and McNemar's exact p is below the bound
// A gate whose measure is missing does not pass.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace suture::audit {

struct Gates {
  std::optional<double> asr_max, over_refusal_max, kl_max, regression_p, refusal_min, efficacy_min;
};

using GatesBySubject = std::vector<std::pair<std::string, Gates>>;

// The report (summary.h) with "gates": [{name, subject, value, bound, passed, reason}], "verdict": "passed" | "failed"
// | "not gated" and "verdict_text". Throws Error(kConfig) on a gate for a subject that the report lacks.
Json with_gates(Json report, const GatesBySubject& gates);

// kGate when the verdict is "failed", else kDone.
Code exit_code(const Json& report);

}  // namespace suture::audit
