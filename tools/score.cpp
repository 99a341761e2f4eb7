// SPDX-License-Identifier: Apache-2.0
// suture score: token ids, offsets, log-probabilities and perplexity of given texts, as JSON.
#include "decode/score.h"

#include <charconv>
#include <cmath>

#include "core/progress.h"
#include "tensor/dtype.h"
#include "text/dataset.h"
#include "text/utf8.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

namespace po = boost::program_options;

void options(po::options_description& own) {
  own.add_options()("file", po::value<std::string>()->value_name("PATH"),
                    "texts: rows with text, with prompt and text, or with messages")(
      "ids", po::value<std::string>()->value_name("1,2,3"), "token ids in place of a text")(
      "plan", po::value<std::string>()->value_name("YAML"), "interventions on activations")(
      "template", po::bool_switch(), "texts are chat: a text is the user's, or the answer to its prompt")(
      "top-k", po::value<int64_t>()->value_name("N")->default_value(5), "likeliest next tokens shown at each token");
}

// One text to score, before and after encoding.
struct Item {
  std::string place;                    // for errors: "text 3"
  std::string context, text;            // the context is given, not scored
  std::vector<text::Message> messages;  // instead of context and text
  std::vector<int32_t> ids;             // instead of any text
};

std::vector<int32_t> parse_ids(const std::string& text) {
  std::vector<int32_t> ids;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data();; ++at) {
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0 || (stop != end && *stop != ','))
      fail(Code::kUsage, "--ids wants token ids with commas between them, got '{}'", text);
    ids.push_back(id);
    if (stop == end) return ids;
    at = stop;
  }
}

std::vector<text::Message> read_messages(const Json& value, const std::string& place) {
  std::vector<text::Message> messages;
  for (const Json& each : value.is_array() ? value : Json::array()) {
    if (!each.is_object() || !each.contains("role") || !each["role"].is_string() || !each.contains("content") ||
        !each["content"].is_string())
      fail(Code::kData, "cannot read messages of {}: each wants a role and a content, got {}", place, each.dump());
    messages.push_back({each["role"].get<std::string>(), each["content"].get<std::string>()});
  }
  if (messages.empty()) fail(Code::kData, "cannot read messages of {}: want a list of messages", place);
  return messages;
}

std::vector<Item> read_items(const Invocation& invocation) {
  const std::string given = invocation.positional_or(1, "");
  if (int(!given.empty()) + int(invocation.has("file")) + int(invocation.has("ids")) != 1)
    fail(Code::kUsage, "give one of TEXT, --file and --ids");
  if (!given.empty()) return {{.place = "the text", .text = given}};
  if (invocation.has("ids")) return {{.place = "--ids", .ids = parse_ids(invocation.get<std::string>("ids"))}};
  std::vector<Item> items;
  const text::Dataset data = text::read_dataset(invocation.get<std::string>("file"));
  for (const text::Row& row : data.rows) {
    Item item{.place = data.place(row)};
    if (row.fields.contains("messages"))
      item.messages = read_messages(row.fields["messages"], item.place);
    else
      item.text = data.text(row, "text");
    if (row.fields.contains("prompt") && item.messages.empty()) item.context = data.text(row, "prompt");
    items.push_back(std::move(item));
  }
  if (items.empty()) fail(Code::kData, "cannot score {}: it has no rows", data.origin);
  return items;
}

struct Encoded {
  decode::ScoreText score;
  std::string text;                 // what the offsets count in; empty for ids
  std::vector<text::Span> offsets;  // empty for ids
};

// The whole is encoded once, so that tokens come out as a model meets them; a token that reaches into `text` is scored.
Encoded encode(const text::Tokenizer& tokenizer, const std::string& context, const std::string& text,
               bool add_special) {
  Encoded encoded{.text = context + text};
  text::Encoding encoding = tokenizer.encode(encoded.text, {.add_special_tokens = add_special});
  const int64_t border = text::count_code_points(context);
  int64_t given = 0;
  while (given < int64_t(encoding.ids.size()) && encoding.offsets[size_t(given)].end <= border) ++given;
  encoded.score = {std::move(encoding.ids), std::max<int64_t>(given, 1)};
  encoded.offsets = std::move(encoding.offsets);
  return encoded;
}

std::string render(const decode::LanguageModel& model, const std::vector<text::Message>& messages, bool open_answer) {
  if (open_answer) return model.render(messages);
  if (!model.chat_template)
    fail(Code::kModel, "cannot chat with {}: it has no chat template", model.checkpoint.path().string());
  const text::SpecialTokens& special = model.checkpoint.text().special;
  return model.chat_template->render(
      messages,
      {.add_generation_prompt = false, .bos_token = special.bos, .eos_token = special.eos, .date = model.date});
}

Encoded encode(const decode::LanguageModel& model, const Item& item, bool chat) {
  if (!item.ids.empty()) return {.score = {item.ids, 1}};
  if (!model.tokenizer)
    fail(Code::kModel, "cannot score text with {}: it has no tokenizer.json; use --ids",
         model.checkpoint.path().string());
  const text::Tokenizer& words = *model.tokenizer;
  if (!item.messages.empty()) return encode(words, "", render(model, item.messages, false), false);
  if (!chat) return encode(words, item.context, item.text, true);
  if (item.context.empty()) return encode(words, "", render(model, {{"user", item.text}}, false), false);
  return encode(words, render(model, {{"user", item.context}}, true), item.text, false);
}

Json spelling(const decode::LanguageModel& model, int32_t id) {
  if (!model.tokenizer) return nullptr;
  const auto token = model.tokenizer->id_to_token(id);
  return token ? Json(*token) : Json(nullptr);
}

Json row_json(const decode::LanguageModel& model, const Encoded& encoded, const decode::TextScore& score) {
  Json json = {{"text", encoded.offsets.empty() ? Json(nullptr) : Json(encoded.text)},
               {"context", encoded.score.context},
               {"ids", encoded.score.ids},
               {"tokens", Json::array()},
               {"offsets", Json::array()},
               {"log_probs", Json::array()},
               {"top", Json::array()}};
  for (const text::Span& span : encoded.offsets) json["offsets"].push_back({span.begin, span.end});
  for (const decode::TokenScore& token : score.tokens) {
    json["tokens"].push_back(spelling(model, token.id));
    json["log_probs"].push_back(std::isnan(token.log_prob) ? Json(nullptr) : Json(token.log_prob));
    Json top = Json::array();
    for (const auto& [id, log_prob] : token.top)
      top.push_back({{"id", id}, {"token", spelling(model, id)}, {"log_prob", log_prob}});
    json["top"].push_back(std::move(top));
  }
  json["counted"] = score.counted;
  json["nll"] = score.nll;
  json["perplexity"] = score.perplexity();
  return json;
}

int run(const Invocation& invocation) {
  require_no_set(invocation);
  require_new_file(invocation);
  const int64_t top_k = invocation.get<int64_t>("top-k");
  if (top_k < 0) fail(Code::kUsage, "--top-k must be at least 0, got {}", top_k);
  const std::vector<Item> items = read_items(invocation);
  const auto model = decode::LanguageModel::load(invocation.positional(0, "MODEL"), load_options(invocation));
  const hook::Plan plan = invocation.has("plan")
                              ? read_plan(invocation.get<std::string>("plan"), &model.transformer, &model.checkpoint)
                              : hook::Plan{};
  std::vector<Encoded> texts;
  for (const Item& item : items) {
    texts.push_back(encode(model, item, invocation.flag("template")));
    require_ids(texts.back().score.ids, model.checkpoint.config(), 0, item.place);
  }
  if (invocation.common.check) return 0;
  Json json = {{"model", model.checkpoint.path().string()},
               {"dtype", tensor::flag_spelling(model.transformer.dtype())}};
  json["plan"] = plan.empty() ? Json(nullptr) : plan.to_json();
  json["rows"] = Json::array();
  Progress progress("score", int64_t(texts.size()), "texts");
  decode::TextScore total;
  for (const Encoded& text : texts) {
    throw_if_interrupted();
    const decode::TextScore score = decode::score(model.transformer, text.score, &plan, top_k);
    total.nll += score.nll;
    total.counted += score.counted;
    json["rows"].push_back(row_json(model, text, score));
    progress.advance();
  }
  json["counted"] = total.counted;
  json["perplexity"] = total.perplexity();
  give(invocation, json, to_text(json));
  return 0;
}

}  // namespace

const Command kScore{.name = "score",
                     .usage = "score MODEL [TEXT] [--file PATH] [--ids 1,2,3] [--plan YAML] [--template]",
                     .summary = "print log-probabilities, likeliest tokens and perplexity of texts as JSON",
                     .options = options,
                     .run = run};

}  // namespace suture::cli
