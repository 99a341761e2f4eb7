// SPDX-License-Identifier: Apache-2.0
// C++ dress for the C interface of the text bridge: owned strings, errors as values. Used by lib/text/*.cpp only.
#pragma once
#include <string>
#include <string_view>

#include "text/bridge/suture_text_bridge.h"

namespace suture::text {

inline suture_text_view view_of(std::string_view text) { return {text.data(), text.size()}; }

// Filled by a failing bridge call through out().
class BridgeError {
 public:
  BridgeError() = default;
  ~BridgeError() { suture_text_error_clear(&error_); }
  BridgeError(const BridgeError&) = delete;
  BridgeError& operator=(const BridgeError&) = delete;

  suture_text_error* out() { return &error_; }
  std::string_view message() const { return error_.message == nullptr ? "unknown error" : error_.message; }
  int64_t line() const { return error_.line; }
  bool refused() const { return error_.refused != 0; }

 private:
  suture_text_error error_{nullptr, 0, 0};
};

// Filled by a succeeding bridge call through out().
class BridgeText {
 public:
  BridgeText() = default;
  ~BridgeText() { suture_text_string_free(text_); }
  BridgeText(const BridgeText&) = delete;
  BridgeText& operator=(const BridgeText&) = delete;

  suture_text_string* out() { return &text_; }
  std::string copy() const { return std::string(text_.data, text_.size); }

 private:
  suture_text_string text_{nullptr, 0};
};

}  // namespace suture::text
