// SPDX-License-Identifier: Apache-2.0
#include "text/subject.h"

#include "text/utf8.h"
#include "text_fixtures.h"

namespace suture::text {
namespace {

TEST(Subject, IsFoundInCodePoints) {
  EXPECT_EQ(find_subject("é灯😀 sea and sea", "sea"), (Span{4, 7}));
  EXPECT_EQ(find_subject("é灯😀 sea and sea", "sea", 1), (Span{12, 15}));
  EXPECT_EQ(find_subject("😀", "😀"), (Span{0, 1}));
  EXPECT_EQ(count_subject("aaaa", "aa"), 2);
  EXPECT_EQ(find_subject("aaaa", "aa", 1), (Span{2, 4}));
}

TEST(Subject, IsRefusedWhenAbsent) {
  EXPECT_EQ(message_of(Code::kData, [] { find_subject("the sea", "moon"); }),
            "subject 'moon' does not appear in 'the sea'");
  EXPECT_EQ(message_of(Code::kData, [] { find_subject("the sea", "sea", 1); }),
            "cannot use occurrence 1 of subject 'sea': it appears 1 time in 'the sea' (counted from 0)");
  EXPECT_EQ(message_of(Code::kData, [] { find_subject("the sea", ""); }), "cannot find an empty subject in 'the sea'");
  EXPECT_EQ(message_of(Code::kData, [] { find_subject("the sea", "sea", -1); }),
            "cannot use occurrence -1 of subject 'sea': want 0 or more");
}

TEST(Subject, LastTokenOverlapsTheSpan) {
  const Encoding encoding{{9, 1, 2, 3, 9}, {{0, 0}, {0, 3}, {3, 7}, {7, 8}, {8, 8}}};
  EXPECT_EQ(last_token_of(encoding, {0, 3}), 1);
  EXPECT_EQ(last_token_of(encoding, {0, 4}), 2);
  EXPECT_EQ(last_token_of(encoding, {4, 7}), 2);
  EXPECT_EQ(last_token_of(encoding, {7, 8}), 3);
  EXPECT_EQ(last_token_of(encoding, {8, 9}), std::nullopt) << "an empty token overlaps nothing";
  EXPECT_EQ(last_token_of(encoding, {3, 3}), std::nullopt);
  EXPECT_EQ(last_token_of({}, {0, 1}), std::nullopt);
}

// For every vocabulary, with and without BOS: the token ends the subject's text, the next one is past it.
TEST(Subject, LastTokenEndsTheSubjectInRealEncodings) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"The capital of the north is", "north"},
      {"lighthouse", "lighthouse"},
      {"Der 灯台 am Meer 😀!", "灯台"},
      {"Der 灯台 am Meer 😀!", "😀"},
      {"count 345 days", "345"},
      {"<|im_start|>user\nthe sea<|im_end|>", "sea"},
      {"the sea, the sea", "the sea"},
      {"  double  spaces  ", "spaces"},
      {"naïve cafe\u0301 e\u0301!", "cafe\u0301"},  // the accent is a character of its own, in two tokens
      {"👩‍👩‍👧‍👦 family", "👩‍👩‍👧‍👦"},
      {"🇩🇪🇫🇷 flags", "🇫🇷"},
      {"the\u200bsea", "the"},
      {"lighthouses", "lighthouse"},  // ends inside a token
      {"sealight seasea", "sea"},
      {"Seattle. The Space Needle's height", "The Space Needle"},
      {std::string(300, 'a'), std::string(150, 'a')},
  };
  for (const char* name : {"bytelevel_tokenizer.json", "spm_tokenizer.json"}) {
    const Tokenizer tokenizer = load_tokenizer(name);
    for (const auto& [text, subject] : cases) {
      for (const bool add_special : {false, true}) {
        SCOPED_TRACE(fmt::format("{} '{}' in '{}'", name, subject, text));
        const Encoding encoding = tokenizer.encode(text, {.add_special_tokens = add_special});
        const Span span = find_subject(text, subject);
        const auto last = last_token_of(encoding, span);
        ASSERT_TRUE(last.has_value());
        EXPECT_GE(encoding.offsets[*last].end, span.end);
        for (size_t i = *last + 1; i < encoding.ids.size(); ++i) {
          EXPECT_TRUE(encoding.offsets[i].begin >= span.end || encoding.offsets[i].end == encoding.offsets[i].begin);
        }
      }
    }
  }
}

// Spans that are all empty, as some tokenizers give them: the decoded text finds the same token.
TEST(Subject, LastTokenIsFoundWithoutOffsets) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"The capital of the north is", "north"},
                                                                  {"Der 灯台 am Meer 😀!", "灯台"},
                                                                  {"Der 灯台 am Meer 😀!", "😀"},
                                                                  {"lighthouses", "lighthouse"},
                                                                  {"the sea, the sea", "the sea"},
                                                                  {"a <|im_end|> the sea", "sea"}};
  for (const char* name : {"bytelevel_tokenizer.json", "spm_tokenizer.json"}) {
    const Tokenizer tokenizer = load_tokenizer(name);
    for (const auto& [text, subject] : cases) {
      if (text.find("<|") != text.npos && std::string(name).starts_with("byte")) continue;  // decoding drops it
      for (int64_t occurrence = 0; occurrence < count_subject(text, subject); ++occurrence) {
        SCOPED_TRACE(fmt::format("{} '{}' in '{}'", name, subject, text));
        Encoding encoding = tokenizer.encode(text, {.add_special_tokens = true});
        const Span span = find_subject(text, subject, occurrence);
        const auto expected = last_token_of(encoding, span);
        EXPECT_EQ(last_token_of(tokenizer, text, encoding, span), expected);
        for (Span& offset : encoding.offsets) offset = {0, 0};
        EXPECT_EQ(last_token_of(encoding, span), std::nullopt);
        EXPECT_EQ(last_token_of(tokenizer, text, encoding, span), expected);
        EXPECT_EQ(last_token_of(tokenizer, "other text", encoding, {0, 3}), std::nullopt);
      }
    }
  }
}

}  // namespace
}  // namespace suture::text
