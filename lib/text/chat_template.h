// SPDX-License-Identifier: Apache-2.0
// Chat templates: Jinja rendered as transformers' apply_chat_template does (trim_blocks, lstrip_blocks, loop controls,
// Python's string and dict methods, tojson, raise_exception, {% generation %} as plain text), with a fixed date.
//
// Known differences, for constructs that chat templates do not use: tuples print as lists; a list or dict joined with
// `~` prints as JSON; the % operator on strings and some filters (wordwrap, random, xmlattr) are refused by name.
//
// The rendered text already holds BOS where the template writes it: encode it without adding special tokens.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"

namespace suture::text {

struct Message {
  std::string role;
  std::string content;
  bool operator==(const Message&) const = default;
};

class ChatTemplate {
 public:
  struct Options {
    bool add_generation_prompt = true;
    std::string bos_token, eos_token;  // empty: undefined in the template, as in transformers
    std::string date = "2026-01-01";   // what strftime_now sees (YYYY-MM-DD[THH:MM:SS]); callers record it
    Json extra = Json::object();       // more template variables; they win over the ones above
  };

  // `origin` names the template in errors. Throws Error(kModel) with origin and line if it does not compile.
  static ChatTemplate parse(std::string source, std::string origin);

  // Throws Error(kModel): with the template's own words and line if it calls raise_exception, or with the fault.
  std::string render(const std::vector<Message>& messages, const Options& options) const;

  const std::string& source() const { return source_; }
  const std::string& origin() const { return origin_; }

 private:
  struct Free {
    void operator()(void* handle) const;
  };
  ChatTemplate(void* handle, std::string source, std::string origin)
      : handle_(handle), source_(std::move(source)), origin_(std::move(origin)) {}

  std::unique_ptr<void, Free> handle_;
  std::string source_, origin_;
};

}  // namespace suture::text
