// SPDX-License-Identifier: Apache-2.0
// encode_chat: which special tokens of a rendered conversation the template wrote, and which the messages.
#include <algorithm>
#include <iterator>

#include "core/error.h"
#include "text/chat_template.h"

namespace suture::text {
namespace {

constexpr std::string_view kOpen = "\U000F0000", kClose = "\U000F0001";

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\n\r\v\f") == std::string_view::npos; }

// Longest first, so that a token goes before those it contains.
std::vector<std::string> control_tokens(const Tokenizer& tokenizer, const std::string& source) {
  std::vector<std::string> tokens;
  for (const NamedToken& token : tokenizer.added_tokens()) {
    const bool written = !is_blank(token.content) && source.find(token.content) != std::string::npos;
    if (token.special || written) tokens.push_back(token.content);
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return tokens;
}

// The token that stands at `at`; empty: none.
std::string_view token_at(std::string_view text, size_t at, const std::vector<std::string>& tokens) {
  for (const std::string& token : tokens) {
    if (text.substr(at).starts_with(token)) return token;
  }
  return "";
}

std::string without_marks(std::string_view text) {
  std::string clean;
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with(kOpen) || rest.starts_with(kClose)) {
      at += kOpen.size();
    } else {
      clean += text[at++];
    }
  }
  return clean;
}

std::string marked(const std::string& original, const std::vector<std::string>& tokens) {
  const std::string text = without_marks(original);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const std::string_view token = token_at(text, at, tokens);
    if (token.empty()) {
      out += text[at++];
      continue;
    }
    out.append(kOpen).append(token).append(kClose);
    at += token.size();
  }
  return out;
}

Json marked_values(const Json& value, const std::vector<std::string>& tokens) {
  if (value.is_string()) return marked(value.get<std::string>(), tokens);
  if (!value.is_structured()) return value;
  Json copy = value;
  for (Json& item : copy) item = marked_values(item, tokens);
  return copy;
}

struct Piece {
  std::string text;
  bool plain = false;
};

// Cuts the rendered text at the marks.
std::vector<Piece> pieces_of(std::string_view text, const std::vector<std::string>& tokens) {
  std::vector<Piece> pieces(1);
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (!rest.starts_with(kOpen) && !rest.starts_with(kClose)) {
      pieces.back().text += text[at++];
      continue;
    }
    at += kOpen.size();
    const std::string_view token = rest.starts_with(kOpen) ? token_at(text, at, tokens) : "";
    if (!token.empty() && text.substr(at + token.size()).starts_with(kClose)) {
      pieces.push_back({std::string(token), true});
      at += token.size() + kClose.size();
    }
    pieces.emplace_back();
  }
  return pieces;
}

// Encodes a piece that does not begin the text. After a newline, because some tokenizers put a space before the start
// of a text; the newline's own tokens are taken off again.
std::vector<int32_t> encode_inside(const Tokenizer& tokenizer, const Piece& piece,
                                   const std::vector<int32_t>& newline) {
  const EncodeOptions options = {.parse_special = !piece.plain, .parse_added = !piece.plain};
  std::vector<int32_t> ids = tokenizer.encode("\n" + piece.text, options).ids;
  const bool separate = ids.size() >= newline.size() && std::equal(newline.begin(), newline.end(), ids.begin());
  if (!separate) return tokenizer.encode(piece.text, options).ids;
  ids.erase(ids.begin(), ids.begin() + std::ssize(newline));
  return ids;
}

}  // namespace

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                 const std::vector<Message>& messages, const ChatTemplate::Options& options,
                                 bool special_in_content) {
  if (special_in_content) return tokenizer.encode(chat.render(messages, options)).ids;
  const std::vector<std::string> tokens = control_tokens(tokenizer, chat.source());
  std::vector<Message> safe;
  for (const Message& message : messages) {
    safe.push_back({marked(message.role, tokens), marked(message.content, tokens)});
  }
  ChatTemplate::Options safe_options = options;
  safe_options.extra = marked_values(options.extra, tokens);
  const std::vector<Piece> pieces = pieces_of(chat.render(safe, safe_options), tokens);

  const std::vector<int32_t> newline = tokenizer.encode("\n").ids;
  std::vector<int32_t> ids = tokenizer.encode(pieces.front().text).ids;
  for (size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i].text.empty()) continue;
    const std::vector<int32_t> more = encode_inside(tokenizer, pieces[i], newline);
    const auto id = tokenizer.token_to_id(pieces[i].text);
    if (pieces[i].plain && id && std::find(more.begin(), more.end(), *id) != more.end()) {
      fail(Code::kModel, "cannot encode '{}' as plain text: the vocabulary of {} gives the token itself",
           pieces[i].text, tokenizer.origin());
    }
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

}  // namespace suture::text
