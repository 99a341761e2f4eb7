// SPDX-License-Identifier: Apache-2.0
// Log lines go to stderr; stdout belongs to results. Use spdlog's functions (spdlog::info, warn, debug) after
// set_up_log().
#pragma once
#include <spdlog/spdlog.h>

namespace suture {

// -1 quiet (warnings only), 0 normal, 1 verbose.
void set_up_log(int verbosity);

}  // namespace suture
