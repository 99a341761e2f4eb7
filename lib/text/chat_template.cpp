// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "text/bridge_call.h"
#include "text/utf8.h"

namespace suture::text {
namespace {

std::string place(const std::string& origin, int64_t line) {
  return line > 0 ? fmt::format("{}, line {}", origin, line) : origin;
}

Json variables_for(const std::vector<Message>& messages, const ChatTemplate::Options& options) {
  Json variables = Json::object();
  variables["messages"] = Json::array();
  for (const Message& message : messages) {
    require_utf8(message.content, fmt::format("the {} message", message.role));
    variables["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  // transformers passes None for these two, so that `is defined` holds and both are false.
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  if (!options.bos_token.empty()) variables["bos_token"] = options.bos_token;
  if (!options.eos_token.empty()) variables["eos_token"] = options.eos_token;
  for (const auto& [name, value] : options.extra.items()) variables[name] = value;
  return variables;
}

}  // namespace

void ChatTemplate::Free::operator()(void* handle) const { suture_template_free(static_cast<suture_template*>(handle)); }

ChatTemplate ChatTemplate::parse(std::string source, std::string origin) {
  if (const auto offset = first_invalid_byte(source)) {
    fail(Code::kModel, "cannot read chat template {}: invalid UTF-8 at byte {}", origin, *offset);
  }
  BridgeError error;
  suture_template* handle = suture_template_parse(view_of(source), error.out());
  if (handle == nullptr) {
    fail(Code::kModel, "cannot read chat template {}: {}", place(origin, error.line()), error.message());
  }
  return ChatTemplate(handle, std::move(source), std::move(origin));
}

ChatTemplate::Rendered ChatTemplate::attempt(const std::vector<Message>& messages, const Options& options) const {
  BridgeError error;
  BridgeText text;
  const std::string variables = variables_for(messages, options).dump();
  const auto* handle = static_cast<const suture_template*>(handle_.get());
  if (suture_template_render(handle, view_of(variables), view_of(options.date), text.out(), error.out()) == 0) {
    return {text.copy(), ""};
  }
  const std::string where = place(origin_, error.line());
  if (!error.refused()) fail(Code::kModel, "cannot render chat template {}: {}", where, error.message());
  return {"", fmt::format("the chat template refuses these messages ({}): {}", where, error.message())};
}

std::string ChatTemplate::render(const std::vector<Message>& messages, const Options& options) const {
  Rendered rendered = attempt(messages, options);
  if (!rendered.refusal.empty()) throw Error(Code::kModel, rendered.refusal);
  return std::move(rendered.text);
}

bool ChatTemplate::refuses(const std::vector<Message>& messages, const Options& options) const {
  return !attempt(messages, options).refusal.empty();
}

SystemPolicy parse_system_policy(std::string_view name) {
  if (name == "error") return SystemPolicy::kError;
  if (name == "merge_into_user") return SystemPolicy::kMergeIntoUser;
  if (name == "drop") return SystemPolicy::kDrop;
  fail(Code::kConfig, "unknown system policy '{}': want error, merge_into_user or drop", name);
}

std::vector<Message> apply_system_policy(const ChatTemplate& chat, const std::vector<Message>& messages,
                                         const ChatTemplate::Options& options, SystemPolicy policy) {
  const auto is_system = [](const Message& message) { return message.role == "system"; };
  if (policy == SystemPolicy::kError || std::none_of(messages.begin(), messages.end(), is_system) ||
      !chat.refuses(messages, options)) {
    return messages;
  }
  std::vector<Message> kept;
  std::string waiting;  // system text that looks for a user message
  const auto add_before = [&](const std::string& text) {
    return waiting.empty() ? text : text.empty() ? waiting : waiting + "\n\n" + text;
  };
  for (const Message& message : messages) {
    if (is_system(message)) {
      if (policy == SystemPolicy::kMergeIntoUser) waiting = add_before(message.content);
    } else if (message.role == "user") {
      kept.push_back({message.role, add_before(message.content)});
      waiting.clear();
    } else {
      kept.push_back(message);
    }
  }
  if (!waiting.empty()) kept.push_back({"user", waiting});
  return kept;
}

}  // namespace suture::text
