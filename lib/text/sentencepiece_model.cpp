// SPDX-License-Identifier: Apache-2.0
#include "text/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "text/utf8.h"

namespace suture::text {
namespace {

// One field of a protobuf message: a number (wire types 0, 1, 5) or bytes (wire type 2).
struct Field {
  uint64_t number = 0;
  uint64_t wire_type = 0;
  uint64_t value = 0;
  std::string_view bytes;
};

constexpr uint64_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

class Message {
 public:
  Message(std::string_view bytes, const std::string& origin, size_t start = 0)
      : bytes_(bytes), origin_(&origin), start_(start) {}

  std::optional<Field> next() {
    if (at_ == bytes_.size()) return std::nullopt;
    Field field;
    const uint64_t key = varint();
    field.number = key >> 3;
    field.wire_type = key & 7;
    if (field.number == 0) broken("a field numbered 0");
    switch (field.wire_type) {
      case kVarint:
        field.value = varint();
        break;
      case kFixed64:
        field.value = fixed(8);
        break;
      case kFixed32:
        field.value = fixed(4);
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      default:
        broken("a field of an unknown kind");
    }
    return field;
  }

  Message inside(const Field& field) const {
    const size_t start = static_cast<size_t>(field.bytes.data() - bytes_.data());
    return Message(field.bytes, *origin_, start_ + start);
  }

  [[noreturn]] void broken(std::string_view what) const {
    fail(Code::kFile, "cannot read {}: no SentencePiece model: {} near byte {}", *origin_, what, start_ + at_);
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) broken("a number that is cut off");
      const uint64_t byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    broken("a number that is too long");
  }

  uint64_t fixed(size_t count) {
    const std::string_view raw = take(count);
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<unsigned char>(raw[i])} << (8 * i);
    return value;
  }

  std::string_view take(uint64_t count) {
    if (count > bytes_.size() - at_) broken("a field longer than the file");
    const std::string_view taken = bytes_.substr(at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return taken;
  }

  std::string_view bytes_;
  const std::string* origin_;
  size_t start_ = 0;  // of these bytes in the file
  size_t at_ = 0;
};

std::string text_of(const Message& message, const Field& field) {
  if (field.wire_type != kBytes) message.broken("a number where a text belongs");
  return std::string(field.bytes);
}

int64_t number_of(const Message& message, const Field& field) {
  if (field.wire_type != kVarint) message.broken("a text where a number belongs");
  return static_cast<int64_t>(field.value);
}

SentencePieceModel::Piece piece_of(Message message) {
  SentencePieceModel::Piece piece;
  while (const auto field = message.next()) {
    if (field->number == 1) piece.text = text_of(message, *field);
    if (field->number == 2) {
      if (field->wire_type != kFixed32) message.broken("a score that is no float");
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
    }
    if (field->number == 3) piece.type = number_of(message, *field);
  }
  return piece;
}

void read_trainer(Message message, SentencePieceModel& model) {
  while (const auto field = message.next()) {
    switch (field->number) {
      case 3:
        model.kind = number_of(message, *field);
        break;
      case 24:
        model.space_is_suffix = number_of(message, *field) != 0;
        break;
      case 35:
        model.byte_fallback = number_of(message, *field) != 0;
        break;
      case 40:
        model.unk_id = number_of(message, *field);
        break;
      case 41:
        model.bos_id = number_of(message, *field);
        break;
      case 42:
        model.eos_id = number_of(message, *field);
        break;
      case 45:
        model.unk_piece = text_of(message, *field);
        break;
      case 46:
        model.bos_piece = text_of(message, *field);
        break;
      case 47:
        model.eos_piece = text_of(message, *field);
        break;
      default:
        break;
    }
  }
}

void read_normalizer(Message message, SentencePieceModel& model) {
  while (const auto field = message.next()) {
    switch (field->number) {
      case 2:
        model.charsmap = text_of(message, *field);
        break;
      case 3:
        model.add_dummy_prefix = number_of(message, *field) != 0;
        break;
      case 4:
        model.remove_extra_whitespaces = number_of(message, *field) != 0;
        break;
      case 5:
        model.escape_whitespaces = number_of(message, *field) != 0;
        break;
      default:
        break;
    }
  }
}

void check(const SentencePieceModel& model, const std::string& origin) {
  if (model.pieces.empty()) fail(Code::kFile, "cannot read {}: no SentencePiece model: it has no pieces", origin);
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    if (first_invalid_byte(piece.text)) fail(Code::kFile, "cannot read {}: piece {} is not valid UTF-8", origin, id);
    if (!std::isfinite(piece.score)) fail(Code::kFile, "cannot read {}: piece {} has no finite score", origin, id);
    const auto [place, fresh] = seen.emplace(piece.text, id);
    if (!fresh) {
      fail(Code::kFile, "cannot read {}: pieces {} and {} are both '{}'", origin, place->second, id, piece.text);
    }
  }
  const auto count = static_cast<int64_t>(model.pieces.size());
  if (model.unk_id < 0 || model.unk_id >= count) {
    fail(Code::kFile, "cannot read {}: unknown token id {} is outside its {} pieces", origin, model.unk_id, count);
  }
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes, const std::string& origin) {
  SentencePieceModel model;
  Message message(bytes, origin);
  while (const auto field = message.next()) {
    if (field->number > 3) continue;
    if (field->wire_type != kBytes) message.broken("a number where a message belongs");
    if (field->number == 1) model.pieces.push_back(piece_of(message.inside(*field)));
    if (field->number == 2) read_trainer(message.inside(*field), model);
    if (field->number == 3) read_normalizer(message.inside(*field), model);
  }
  for (const std::string* text : {&model.unk_piece, &model.bos_piece, &model.eos_piece}) {
    if (first_invalid_byte(*text)) fail(Code::kFile, "cannot read {}: a special piece is not valid UTF-8", origin);
  }
  check(model, origin);
  return model;
}

}  // namespace suture::text
