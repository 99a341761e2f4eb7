// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <algorithm>

#include "text_fixtures.h"

namespace suture::text {
namespace {

ChatTemplate load_template(const std::string& name) {
  return ChatTemplate::parse(read_text(fixture("templates/" + name + ".jinja")), name + ".jinja");
}

std::vector<Message> messages_of(const Json& list) {
  std::vector<Message> messages;
  for (const Json& message : list) messages.push_back({message["role"], message["content"]});
  return messages;
}

ChatTemplate::Options options_of(const Json& row) {
  return {row["add_generation_prompt"], row["bos_token"], row["eos_token"], row["date"], row["extra"]};
}

// Expected texts come from transformers' apply_chat_template, through tests/oracle/make_text_fixtures.py.
TEST(ChatTemplate, RendersAsTheReference) {
  for (const Json& row : read_json(fixture("templates_expected.json"))) {
    if (!row.contains("rendered")) continue;
    SCOPED_TRACE(row.dump());
    const ChatTemplate chat = load_template(row["template"]);
    EXPECT_EQ(chat.render(messages_of(row["messages"]), options_of(row)), row["rendered"].get<std::string>());
  }
}

TEST(ChatTemplate, RefusesInTheTemplatesOwnWords) {
  int refused = 0;
  for (const Json& row : read_json(fixture("templates_expected.json"))) {
    if (!row.contains("refused")) continue;
    ++refused;
    const ChatTemplate chat = load_template(row["template"]);
    const std::string message =
        message_of(Code::kModel, [&] { chat.render(messages_of(row["messages"]), options_of(row)); });
    EXPECT_EQ(message, fmt::format("the chat template refuses these messages (inst.jinja, line 10): {}",
                                   row["refused"].get<std::string>()));
  }
  EXPECT_EQ(refused, 2);
}

TEST(ChatTemplate, NamesTheLineThatDoesNotCompile) {
  const std::string message = message_of(Code::kModel, [] { load_template("broken"); });
  EXPECT_TRUE(message.starts_with("cannot read chat template broken.jinja, line 3: ")) << message;
}

TEST(ChatTemplate, NamesTheLineThatFails) {
  const ChatTemplate chat = load_template("fault");
  const std::string message = message_of(Code::kModel, [&] { chat.render({{"user", "hi"}}, {}); });
  EXPECT_TRUE(message.starts_with("cannot render chat template fault.jinja, line 2: ")) << message;
}

TEST(ChatTemplate, StopsAnEndlessTemplate) {
  const ChatTemplate chat = ChatTemplate::parse(
      "{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}", "endless");
  const std::string message = message_of(Code::kModel, [&] { chat.render({}, {}); });
  EXPECT_EQ(message, "cannot render chat template endless, line 1: takes too many steps: does it loop without end?");
}

TEST(ChatTemplate, RefusesBadDatesDirectivesAndText) {
  const ChatTemplate chat = ChatTemplate::parse("{{ strftime_now('%d') }}{{ messages[0].content }}", "t");
  for (const char* date :
       {"", "2026", "2026-13-01", "2026-02-29", "01-01-2026", "2026-01-01T24:00:00", "2026-01-01x"}) {
    EXPECT_EQ(message_of(Code::kModel,
                         [&] {
                           chat.render({{"user", "x"}}, {.date = date});
                         }),
              fmt::format("cannot render chat template t: cannot read date \"{}\": want YYYY-MM-DD or "
                          "YYYY-MM-DDTHH:MM:SS",
                          date));
  }
  EXPECT_EQ(chat.render({{"user", "x"}}, {.date = "2028-02-29 23:59:59"}), "29x");
  EXPECT_EQ(message_of(Code::kData,
                       [&] {
                         chat.render({{"user", "x\xFF"}}, {});
                       }),
            "invalid UTF-8 at byte 1 of the user message");
  const ChatTemplate odd = ChatTemplate::parse("\n{{ strftime_now('%Q') }}", "t");
  EXPECT_EQ(message_of(Code::kModel, [&] { odd.render({}, {}); }),
            "cannot render chat template t, line 2: strftime_now: directive %Q is not supported");
}

TEST(ChatTemplate, SeesNoSpecialTokensThatAreNotGiven) {
  const ChatTemplate chat = ChatTemplate::parse("{{ bos_token is defined }} {{ eos_token is defined }}", "t");
  EXPECT_EQ(chat.render({}, {}), "False False");
  EXPECT_EQ(chat.render({}, {.bos_token = "<s>"}), "True False");
}

TEST(ChatTemplate, ExtraVariablesWin) {
  const ChatTemplate chat = ChatTemplate::parse("{{ tools | length }} {{ add_generation_prompt }} {{ mode }}", "t");
  ChatTemplate::Options options;
  options.extra = {{"tools", Json::array({1, 2})}, {"add_generation_prompt", false}, {"mode", "calm"}};
  EXPECT_EQ(chat.render({}, options), "2 False calm");
}

TEST(ChatTemplate, UserTextIsNeverTemplateText) {
  const ChatTemplate chat = load_template("chatml");
  const std::string hostile = "{{ 1 + 1 }} {% raw %} {# x #} <b>&'\"";
  EXPECT_NE(chat.render({{"user", hostile}}, {}).find(hostile), std::string::npos);
}

// A template that writes BOS, and a tokenizer whose post-processor adds one too: encoded as it should be, one is left.
TEST(ChatTemplate, GivesExactlyOneBos) {
  const Tokenizer tokenizer = load_tokenizer("spm_tokenizer.json");
  const ChatTemplate chat = load_template("inst");
  const std::string text = chat.render({{"user", "hello"}}, {.bos_token = "<s>", .eos_token = "</s>"});
  const int32_t bos = tokenizer.token_to_id("<s>").value();
  const std::vector<int32_t> ids = tokenizer.encode(text).ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), bos), 1);
  EXPECT_EQ(ids.front(), bos);
  const std::vector<int32_t> doubled = tokenizer.encode(text, {.add_special_tokens = true}).ids;
  EXPECT_EQ(std::count(doubled.begin(), doubled.end(), bos), 2) << "the fixture must be able to show the fault";
}

}  // namespace
}  // namespace suture::text
