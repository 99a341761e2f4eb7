// SPDX-License-Identifier: Apache-2.0
// The parts of a SentencePiece model file (protobuf message ModelProto) that encoding needs.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace suture::text {

struct SentencePieceModel {
  enum Kind : int64_t { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  enum Type : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    int64_t type = kNormal;
  };

  std::vector<Piece> pieces;
  // trainer_spec
  int64_t kind = kUnigram;
  bool byte_fallback = false;
  bool space_is_suffix = false;
  int64_t unk_id = 0, bos_id = 1, eos_id = 2;  // negative: none
  std::string unk_piece = "<unk>", bos_piece = "<s>", eos_piece = "</s>";
  // normalizer_spec
  std::string charsmap;  // compiled character replacements; bytes, empty: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// `origin` names the file in errors. Throws Error(kFile) for bytes that are no such message, for a vocabulary that is
// empty, repeats a piece or is not UTF-8, and for an unknown id outside the vocabulary.
SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& origin);

}  // namespace suture::text
