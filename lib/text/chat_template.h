// SPDX-License-Identifier: Apache-2.0
// Chat templates: Jinja rendered as transformers' apply_chat_template does (trim_blocks, lstrip_blocks, loop controls,
// Python's string and dict methods, tojson, raise_exception, {% generation %} as plain text), with a fixed date.
//
// Known differences, for constructs that chat templates do not use: tuples print as lists; a list or dict joined with
// `~` prints as JSON; `%` formats only where a string literal stands on its left; some filters (wordwrap, wordcount,
// random, xmlattr) are refused by name.
//
// The rendered text already holds BOS where the template writes it: encode it without adding special tokens.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "text/tokenizer.h"

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

  // Whether the template calls raise_exception for these messages. Throws Error(kModel) for any other fault.
  bool refuses(const std::vector<Message>& messages, const Options& options) const;

  const std::string& source() const { return source_; }
  const std::string& origin() const { return origin_; }

 private:
  struct Free {
    void operator()(void* handle) const;
  };
  ChatTemplate(void* handle, std::string source, std::string origin)
      : handle_(handle), source_(std::move(source)), origin_(std::move(origin)) {}

  struct Rendered {
    std::string text;
    std::string refusal;  // the whole error message; empty: none
  };
  Rendered attempt(const std::vector<Message>& messages, const Options& options) const;

  std::unique_ptr<void, Free> handle_;
  std::string source_, origin_;
};

// What to do with system messages that a template refuses (some raise an exception for the role).
enum class SystemPolicy {
  kError,          // let the template's own words surface
  kMergeIntoUser,  // put them before the next user message, with an empty line between
  kDrop,           // leave them out
};

// "error", "merge_into_user" or "drop". Throws Error(kConfig).
SystemPolicy parse_system_policy(std::string_view name);

// The messages to render instead of `messages`: the same ones unless there are system messages, the template refuses
// them as they are, and the policy is not kError. Whether the result is accepted shows when it is rendered. Templates
// that ignore system messages without a word are not noticed. A system message that no user message follows becomes
// one.
std::vector<Message> apply_system_policy(const ChatTemplate& chat, const std::vector<Message>& messages,
                                         const ChatTemplate::Options& options, SystemPolicy policy);

// Renders and encodes. With `special_in_content`, spellings of special tokens in the messages become those tokens, as
// apply_chat_template of transformers has it by default. Without, only the template writes special tokens: spellings
// in roles, contents and options.extra are encoded as plain text (transformers: sanitize_control_tokens=True). Control
// tokens are then the special tokens, and the added tokens that stand in the template's source.
//
// How: before rendering, every control token in the messages is put between U+F0000 and U+F0001 (which are removed from
// the messages first); afterwards the text is encoded piece by piece. So texts without control tokens give the same
// ids either way. Limits: a template that compares contents sees the marks; one that cuts a content between the marks
// leaves a lone mark, which is dropped but still parts the text, so the halves cannot join to a token; one that builds
// a token's spelling from a message (`'<|' ~ message.role ~ '|>'`) is not noticed: check roles first.
// Throws Error(kModel) if a vocabulary gives the token even for its plain spelling.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                 const std::vector<Message>& messages, const ChatTemplate::Options& options,
                                 bool special_in_content);

}  // namespace suture::text
