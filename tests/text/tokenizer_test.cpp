// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.h"

#include "text/utf8.h"
#include "text_fixtures.h"

namespace suture::text {
namespace {

class Vocabularies : public testing::TestWithParam<std::string> {
 protected:
  Tokenizer tokenizer() const { return load_tokenizer(GetParam() + "_tokenizer.json"); }
  Json expected() const { return read_json(fixture(GetParam() + "_expected.json")); }
};

// Expected values come from the Python package, through tests/oracle/make_text_fixtures.py. The byte-level file has
// truncation and padding sections that the expected values were made without.
TEST_P(Vocabularies, EncodesAsTheReference) {
  const Tokenizer tokenizer = this->tokenizer();
  for (const Json& row : expected()) {
    SCOPED_TRACE(row["text"].dump());
    const std::string text = row["text"];
    const Encoding plain = tokenizer.encode(text);
    EXPECT_EQ(plain.ids, ids_of(row["ids"]));
    EXPECT_EQ(plain.offsets, spans_of(row["offsets"]));
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = true}).ids, ids_of(row["with_special"]));
    const Encoding unparsed = tokenizer.encode(text, {.parse_special = false});
    EXPECT_EQ(unparsed.ids, ids_of(row["unparsed"]));
    EXPECT_EQ(unparsed.offsets, spans_of(row["unparsed_offsets"]));
  }
}

TEST_P(Vocabularies, DecodesAsTheReference) {
  const Tokenizer tokenizer = this->tokenizer();
  for (const Json& row : expected()) {
    SCOPED_TRACE(row["text"].dump());
    const std::vector<int32_t> ids = ids_of(row["with_special"]);
    EXPECT_EQ(tokenizer.decode(ids), row["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer.decode(ids, false), row["decoded_all"].get<std::string>());
  }
}

TEST_P(Vocabularies, BatchesEqualSingleTexts) {
  const Tokenizer tokenizer = this->tokenizer();
  std::vector<std::string> texts;
  for (const Json& row : expected()) texts.push_back(row["text"]);
  const std::vector<Encoding> batch = tokenizer.encode_batch(texts, {.add_special_tokens = true});
  ASSERT_EQ(batch.size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const Encoding single = tokenizer.encode(texts[i], {.add_special_tokens = true});
    EXPECT_EQ(batch[i].ids, single.ids);
    EXPECT_EQ(batch[i].offsets, single.offsets);
  }
  EXPECT_TRUE(tokenizer.encode_batch({}).empty());
}

TEST_P(Vocabularies, OffsetsLieInsideTheTextAndRise) {
  const Tokenizer tokenizer = this->tokenizer();
  for (const Json& row : expected()) {
    const std::string text = row["text"];
    int64_t last = 0;
    for (const Span span : tokenizer.encode(text).offsets) {
      EXPECT_LE(last, span.begin) << row["text"].dump();
      EXPECT_LE(span.begin, span.end);
      EXPECT_LE(span.end, count_code_points(text));
      last = span.begin;
    }
  }
}

TEST_P(Vocabularies, StreamsWhatDecodeGives) {
  const Tokenizer tokenizer = this->tokenizer();
  for (const Json& row : expected()) {
    for (const bool skip : {true, false}) {
      SCOPED_TRACE(row["text"].dump());
      const std::vector<int32_t> ids = ids_of(row["with_special"]);
      StreamDecoder stream(tokenizer, skip);
      std::string joined;
      for (const int32_t id : ids) {
        const std::string piece = stream.push(id);
        EXPECT_FALSE(first_invalid_byte(piece));
        joined += piece;
      }
      joined += stream.finish();
      EXPECT_EQ(joined, tokenizer.decode(ids, skip));
    }
  }
}

// Every prefix of an encoding may be where generation stops, in the middle of a character as well.
TEST_P(Vocabularies, StreamsTruncatedSequences) {
  const Tokenizer tokenizer = this->tokenizer();
  const std::vector<int32_t> ids = tokenizer.encode("a 😀😀 灯台 é \xF0\x9F\xA6\x99.cpp").ids;
  for (size_t length = 0; length <= ids.size(); ++length) {
    const std::span<const int32_t> head = std::span(ids).first(length);
    StreamDecoder stream(tokenizer);
    std::string joined;
    for (const int32_t id : head) joined += stream.push(id);
    joined += stream.finish();
    EXPECT_EQ(joined, tokenizer.decode(head));
  }
}

// Ids in an order that no text has: lone continuation bytes, byte runs broken by special tokens, unknown ids.
TEST_P(Vocabularies, StreamsArbitraryIds) {
  const Tokenizer tokenizer = this->tokenizer();
  uint64_t state = 7;
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids;
    StreamDecoder stream(tokenizer);
    std::string joined;
    for (int i = 0; i < 24; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      // Byte tokens stand first in both vocabularies: half of the draws come from there.
      const uint64_t range = (state >> 62) & 1 ? 260 : static_cast<uint64_t>(tokenizer.vocab_size()) + 3;
      ids.push_back(static_cast<int32_t>((state >> 33) % range));
      joined += stream.push(ids.back());
    }
    joined += stream.finish();
    EXPECT_EQ(joined, tokenizer.decode(ids));
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Vocabularies, testing::Values("bytelevel", "spm"),
                         [](const auto& vocabulary) { return vocabulary.param; });

TEST(Tokenizer, NeverEmitsHalfACharacter) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  const std::vector<int32_t> ids = tokenizer.encode("😀").ids;
  ASSERT_EQ(ids.size(), 4u) << "the fixture must split this character into its bytes";
  StreamDecoder stream(tokenizer);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids[3]), "😀");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, GivesTextAsSoonAsItIsComplete) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  StreamDecoder stream(tokenizer);
  for (const int32_t id : tokenizer.encode("The lighthouse keeper counts").ids) EXPECT_NE(stream.push(id), "");
}

TEST(Tokenizer, StartsAfreshAfterFinish) {
  const Tokenizer tokenizer = load_tokenizer("spm_tokenizer.json");
  StreamDecoder stream(tokenizer);
  const std::vector<int32_t> ids = tokenizer.encode("the sea").ids;
  for (int round = 0; round < 2; ++round) {
    std::string joined;
    for (const int32_t id : ids) joined += stream.push(id);
    EXPECT_EQ(joined + stream.finish(), "the sea");
  }
}

TEST(Tokenizer, LooksUpTokens) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  EXPECT_EQ(tokenizer.token_to_id("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.id_to_token(2), "<|im_end|>");
  EXPECT_EQ(tokenizer.token_to_id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(-1), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(1 << 30), std::nullopt);
  EXPECT_EQ(tokenizer.vocab_size(), 701);  // 700 trained, and <tool>
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(700));
  EXPECT_FALSE(tokenizer.is_special(50));
}

TEST(Tokenizer, PlainSpecialTokensKeepTheirText) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  const std::string text = "<|im_start|>user\nhi<|im_end|>";
  EXPECT_EQ(tokenizer.encode(text).ids.front(), 1);
  const std::vector<int32_t> plain = tokenizer.encode(text, {.parse_special = false}).ids;
  for (const int32_t id : plain) EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.decode(plain), text);
}

TEST(Tokenizer, RefusesInvalidUtf8) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  EXPECT_EQ(message_of(Code::kData,
                       [&] {
                         tokenizer.encode(
                             "ab\xFF"
                             "cd");
                       }),
            "invalid UTF-8 at byte 2 of the text to encode");
  EXPECT_EQ(message_of(Code::kData,
                       [&] {
                         tokenizer.encode_batch({"fine", "\xC3"});
                       }),
            "invalid UTF-8 at byte 0 of text 1 to encode");
}

TEST(Tokenizer, RefusesNegativeIds) {
  const Tokenizer tokenizer = load_tokenizer("bytelevel_tokenizer.json");
  const std::vector<int32_t> ids = {5, -3};
  EXPECT_EQ(message_of(Code::kData, [&] { tokenizer.decode(ids); }),
            "cannot decode with bytelevel_tokenizer.json: negative token id -3");
}

TEST(Tokenizer, NamesTheFileThatIsNoTokenizer) {
  for (const char* text : {"", "{", "[]", "{\"model\": {\"type\": \"Unheard\"}}"}) {
    const std::string message = message_of(Code::kFile, [&] { Tokenizer::from_json(text, "dir/tokenizer.json"); });
    EXPECT_TRUE(message.starts_with("cannot read tokenizer dir/tokenizer.json: ")) << message;
  }
}

}  // namespace
}  // namespace suture::text
