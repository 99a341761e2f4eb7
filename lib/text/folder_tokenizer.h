// SPDX-License-Identifier: Apache-2.0
// Builds a tokenizer.json for folders that have none, from vocab.json + merges.txt or from a SentencePiece
// tokenizer.model, as transformers 5 does: which kind of tokenizer it is follows `tokenizer_class` and `model_type`.
//
// Two habits of transformers to know about: BOS and EOS are added only where tokenizer_config.json says so
// (add_bos_token, add_eos_token), and class LlamaTokenizer encodes "x" and " x" alike (no second space mark before a
// text that starts with a space).
#pragma once
#include <filesystem>
#include <string>

#include "core/json.h"
#include "text/assets.h"

namespace suture::text {

struct FolderTokenizer {
  std::string tokenizer_json;  // empty: the folder has no vocabulary at all
  SpecialTokens special;       // with the defaults of the tokenizer's class
};

// The three configurations are the JSON files of the folder, empty objects where missing. Throws Error(kModel) for
// vocabularies that only a tokenizer.json can serve (tekken.json, tiktoken, word-level SentencePiece, other classes),
// Error(kFile) for broken files.
FolderTokenizer build_folder_tokenizer(const std::filesystem::path& folder, const Json& tokenizer_config,
                                       const Json& special_tokens_map, const Json& model_config);

}  // namespace suture::text
