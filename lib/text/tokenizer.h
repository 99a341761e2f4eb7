// SPDX-License-Identifier: Apache-2.0
// Tokenizers read from the text of a tokenizer.json (Hugging Face format); ids and offsets equal transformers'.
//
// Truncation and padding sections of the file are ignored, and decoding never "cleans up" spaces. Text must be valid
// UTF-8: anything else throws Error(kData) with the byte offset. One Tokenizer may be used by several threads.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace suture::text {

// Half-open, in Unicode code points of the encoded text.
struct Span {
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const Span&) const = default;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<Span> offsets;  // one a token; tokens that stand for no text (BOS and the like) have an empty span
};

struct EncodeOptions {
  bool add_special_tokens = false;  // what the post-processor adds (BOS and the like)
  // The spelling of special tokens inside the text is that token (as transformers has it by default); false: it is
  // plain text, as with transformers' split_special_tokens. Added tokens that are not special are found either way ...
  bool parse_special = true;
  bool parse_added = true;  // ... unless this is false: then no added token is, special or not
};

struct NamedToken {  // an added token: found in texts by its spelling, before the model sees them
  int32_t id = 0;
  std::string content;
  bool special = false;
  bool operator==(const NamedToken&) const = default;
};

class Tokenizer {
 public:
  // `origin` names the file in errors. Throws Error(kFile) if the JSON is no tokenizer.
  static Tokenizer from_json(std::string_view tokenizer_json, const std::string& origin);

  Encoding encode(std::string_view text, EncodeOptions options = {}) const;
  std::vector<Encoding> encode_batch(const std::vector<std::string>& texts, EncodeOptions options = {}) const;

  // Ids that no token has (a padded embedding can produce them) give no text; negative ids throw Error(kData).
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;
  std::vector<NamedToken> added_tokens() const;  // by rising id
  int64_t vocab_size() const;                    // added tokens included
  const std::string& origin() const { return origin_; }

 private:
  struct Free {
    void operator()(void* handle) const;
  };
  Tokenizer(void* handle, std::string origin) : handle_(handle), origin_(std::move(origin)) {}

  std::unique_ptr<void, Free> handle_;
  std::string origin_;
};

// Decodes ids as they come. Never gives half a character, and everything push() and finish() return, joined, is
// decode() of all ids. Pieces are held back while they might still change: bytes of an unfinished character, and runs
// of byte-fallback tokens. Keeps a reference to the tokenizer, which must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

  std::string push(int32_t id);
  std::string finish();  // what was held back; the decoder then starts afresh

 private:
  bool ends_in_byte_token() const;

  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;  // all ids so far
  size_t window_ = 0;         // ids_[window_, ...) are decoded anew at each push
  size_t given_ids_ = 0;      // the text of ids_[0, given_ids_) was given out ...
  size_t given_bytes_ = 0;    // ... and is this long
  std::string window_text_;   // text of ids_[window_, given_ids_)
};

}  // namespace suture::text
