// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include <algorithm>

#include "core/error.h"
#include "core/json.h"
#include "text/bridge_call.h"
#include "text/utf8.h"

namespace suture::text {
namespace {

const suture_tokenizer* native(const void* handle) { return static_cast<const suture_tokenizer*>(handle); }

struct FreeEncodings {
  void operator()(suture_encodings* encodings) const { suture_encodings_free(encodings); }
};

Encoding copy_encoding(const suture_encodings& batch, size_t index) {
  Encoding encoding;
  const size_t begin = batch.starts[index], end = batch.starts[index + 1];
  encoding.ids.assign(batch.ids + begin, batch.ids + end);
  encoding.offsets.reserve(end - begin);
  for (size_t i = begin; i < end; ++i) encoding.offsets.push_back({batch.begins[i], batch.ends[i]});
  return encoding;
}

int32_t parsing_of(const EncodeOptions& options) {
  if (!options.parse_added) return SUTURE_PARSE_NOTHING;
  return options.parse_special ? SUTURE_PARSE_ALL : SUTURE_PARSE_ORDINARY;
}

std::vector<Encoding> encode_views(const void* handle, const std::vector<suture_text_view>& views,
                                   const EncodeOptions& options, const std::string& origin) {
  BridgeError error;
  const std::unique_ptr<suture_encodings, FreeEncodings> batch(suture_tokenizer_encode(
      native(handle), views.data(), views.size(), options.add_special_tokens, parsing_of(options), error.out()));
  if (!batch) fail(Code::kData, "cannot encode with {}: {}", origin, error.message());
  std::vector<Encoding> encodings;
  encodings.reserve(batch->count);
  for (size_t i = 0; i < batch->count; ++i) encodings.push_back(copy_encoding(*batch, i));
  return encodings;
}

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, what decoders give for bytes that are no character

}  // namespace

void Tokenizer::Free::operator()(void* handle) const { suture_tokenizer_free(static_cast<suture_tokenizer*>(handle)); }

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, const std::string& origin) {
  if (const auto offset = first_invalid_byte(tokenizer_json)) {
    fail(Code::kFile, "cannot read tokenizer {}: invalid UTF-8 at byte {}", origin, *offset);
  }
  BridgeError error;
  suture_tokenizer* handle = suture_tokenizer_from_json(view_of(tokenizer_json), error.out());
  if (handle == nullptr) fail(Code::kFile, "cannot read tokenizer {}: {}", origin, error.message());
  return Tokenizer(handle, origin);
}

Encoding Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  require_utf8(text, "the text to encode");
  return std::move(encode_views(handle_.get(), {view_of(text)}, options, origin_).front());
}

std::vector<Encoding> Tokenizer::encode_batch(const std::vector<std::string>& texts, EncodeOptions options) const {
  std::vector<suture_text_view> views;
  views.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    require_utf8(texts[i], fmt::format("text {} to encode", i));
    views.push_back(view_of(texts[i]));
  }
  return encode_views(handle_.get(), views, options, origin_);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  BridgeError error;
  BridgeText text;
  const int32_t status = suture_tokenizer_decode(native(handle_.get()), ids.data(), ids.size(), skip_special_tokens,
                                                 text.out(), error.out());
  if (status != 0) fail(Code::kData, "cannot decode with {}: {}", origin_, error.message());
  return text.copy();
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int64_t id = suture_tokenizer_token_to_id(native(handle_.get()), view_of(token));
  if (id < 0) return std::nullopt;
  return static_cast<int32_t>(id);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const {
  BridgeText text;
  if (suture_tokenizer_id_to_token(native(handle_.get()), id, text.out()) == 0) return std::nullopt;
  return text.copy();
}

bool Tokenizer::is_special(int32_t id) const { return suture_tokenizer_is_special(native(handle_.get()), id) != 0; }

std::vector<NamedToken> Tokenizer::added_tokens() const {
  BridgeError error;
  BridgeText text;
  if (suture_tokenizer_added_tokens(native(handle_.get()), text.out(), error.out()) != 0) {
    fail(Code::kBug, "cannot list the added tokens of {}: {}", origin_, error.message());
  }
  std::vector<NamedToken> tokens;
  for (const Json& token : parse_json(text.copy(), origin_)) {
    tokens.push_back({token["id"], token["content"], token["special"]});
  }
  return tokens;
}

int64_t Tokenizer::vocab_size() const { return suture_tokenizer_vocab_size(native(handle_.get())); }

// A run of byte tokens (<0xE4><0xBD>...) decodes as a whole: one bad byte turns all of it into replacement characters.
bool StreamDecoder::ends_in_byte_token() const {
  for (size_t i = ids_.size(); i > given_ids_; --i) {
    if (skip_special_tokens_ && tokenizer_->is_special(ids_[i - 1])) continue;
    const auto token = tokenizer_->id_to_token(ids_[i - 1]);
    if (token) return token->size() == 6 && token->starts_with("<0x") && token->ends_with('>');
  }
  return false;
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  if (ends_in_byte_token()) return "";
  const std::span<const int32_t> ids(ids_);
  const std::string text = tokenizer_->decode(ids.subspan(window_), skip_special_tokens_);
  if (text.size() <= window_text_.size() || text.ends_with(kReplacement) || !text.starts_with(window_text_)) return "";
  std::string piece = text.substr(window_text_.size());
  // The ids just given out begin the next window: a decoder may treat the first token of a text differently.
  window_ = given_ids_;
  given_ids_ = ids_.size();
  given_bytes_ += piece.size();
  window_text_ = tokenizer_->decode(ids.subspan(window_), skip_special_tokens_);
  return piece;
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_->decode(ids_, skip_special_tokens_);
  std::string piece = text.substr(std::min(given_bytes_, text.size()));
  *this = StreamDecoder(*tokenizer_, skip_special_tokens_);
  return piece;
}

}  // namespace suture::text
