// SPDX-License-Identifier: Apache-2.0
// C interface of the Rust crate behind lib/text: Hugging Face tokenizers and Jinja chat templates.
//
// Conventions
//   Text        UTF-8, passed as pointer and length; inputs need no terminating zero and are only read during the call.
//   Errors      A function that can fail takes `error` last (never null). On failure it returns null (or -1), leaves
//   its
//               outputs untouched and sets error->message to a string that the caller frees with
//               suture_text_error_clear; error->line is the template line (from 1) or 0 where there is none. On success
//               *error is not written. Callers start from {0, 0, 0}.
//   Ownership   Every object returned is owned by the caller and freed by the function named beside it, once. Freeing
//               null does nothing.
//   Threads     Objects are immutable after creation: one object may be used by several threads at a time.
//   Panics      Never cross this boundary; they become errors whose message starts with "internal:".
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// What went wrong. `refused` is 1 if the template itself called raise_exception.
typedef struct suture_text_error {
  char* message;
  int64_t line;
  int32_t refused;
} suture_text_error;

// A piece of UTF-8 text owned by someone else.
typedef struct suture_text_view {
  const char* data;
  size_t size;
} suture_text_view;

// Text owned by the caller, not terminated by a zero; free with suture_text_string_free.
typedef struct suture_text_string {
  char* data;
  size_t size;
} suture_text_string;

// The encodings of a batch, text after text: text i owns entries [starts[i], starts[i + 1]) of the three arrays below.
// begins and ends are half-open offsets in Unicode code points of text i.
typedef struct suture_encodings {
  size_t count;
  const size_t* starts;  // count + 1 entries
  const int32_t* ids;
  const int64_t* begins;
  const int64_t* ends;
} suture_encodings;

typedef struct suture_tokenizer suture_tokenizer;
typedef struct suture_template suture_template;

void suture_text_error_clear(suture_text_error* error);
void suture_text_string_free(suture_text_string text);

// Reads the text of a tokenizer.json. Its truncation and padding sections are dropped. Free: suture_tokenizer_free.
suture_tokenizer* suture_tokenizer_from_json(suture_text_view json, suture_text_error* error);
void suture_tokenizer_free(suture_tokenizer* tokenizer);

// Which spellings inside a text stand for their token; the others are plain text.
enum suture_text_parsing {
  SUTURE_PARSE_ORDINARY = 0,  // added tokens that are not special
  SUTURE_PARSE_ALL = 1,       // all added tokens
  SUTURE_PARSE_NOTHING = 2,   // none: the model alone
};

// Encodes `count` texts. add_special_tokens: 1 to add what the post-processor adds (BOS and the like).
// parsing: a suture_text_parsing. Free: suture_encodings_free.
suture_encodings* suture_tokenizer_encode(const suture_tokenizer* tokenizer, const suture_text_view* texts,
                                          size_t count, int32_t add_special_tokens, int32_t parsing,
                                          suture_text_error* error);
void suture_encodings_free(suture_encodings* encodings);

// Text of `count` ids, in *text. Ids without a token give no text. Returns 0, or -1 on failure.
int32_t suture_tokenizer_decode(const suture_tokenizer* tokenizer, const int32_t* ids, size_t count,
                                int32_t skip_special_tokens, suture_text_string* text, suture_text_error* error);

// Id of a token (added tokens included), or -1 if there is none.
int64_t suture_tokenizer_token_to_id(const suture_tokenizer* tokenizer, suture_text_view token);

// Spelling of a token in *text. Returns 1, or 0 if no token has this id (then *text is not written).
int32_t suture_tokenizer_id_to_token(const suture_tokenizer* tokenizer, int32_t id, suture_text_string* text);

// The added tokens by rising id, as a JSON list of {"id", "content", "special"}, in *text. Returns 0, or -1 on failure.
int32_t suture_tokenizer_added_tokens(const suture_tokenizer* tokenizer, suture_text_string* text,
                                      suture_text_error* error);

// Number of tokens, added tokens included.
int64_t suture_tokenizer_vocab_size(const suture_tokenizer* tokenizer);

// 1 if the id is an added token marked special, else 0.
int32_t suture_tokenizer_is_special(const suture_tokenizer* tokenizer, int32_t id);

// Compiles a Jinja chat template. Free: suture_template_free.
suture_template* suture_template_parse(suture_text_view source, suture_text_error* error);
void suture_template_free(suture_template* chat_template);

// Renders with the variables of a JSON object. `date` is what strftime_now sees: YYYY-MM-DD, or
// YYYY-MM-DDTHH:MM:SS. Returns 0 and *text, or -1 on failure.
int32_t suture_template_render(const suture_template* chat_template, suture_text_view variables_json,
                               suture_text_view date, suture_text_string* text, suture_text_error* error);

#ifdef __cplusplus
}  // extern "C"
#endif
