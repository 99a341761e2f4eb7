// SPDX-License-Identifier: Apache-2.0
// The one exception type of the project. Its code is the exit code of the command line.
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace suture {

enum class Code : int {
  kDone = 0,
  kGate = 1,      // a gate of the audit failed
  kUsage = 2,     // command line
  kConfig = 3,    // configuration file
  kData = 4,      // data set, text, stored vector
  kFile = 5,      // broken checkpoint file
  kModel = 6,     // model unsupported, or not as asked
  kNumerics = 7,  // NaN, singular matrix, collapsed model
  kResource = 8,  // disk, memory, device
  kBug = 70,
  kInterrupted = 130,
};

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

// Messages: lower case, no full stop, failure first, then value and bound, then what to do.
template <class... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace suture
