// SPDX-License-Identifier: Apache-2.0
// suture inspect: what a checkpoint is, from its headers. Tensor data is read only for --digest.
#include <algorithm>
#include <map>

#include "decode/language_model.h"
#include "model/bake.h"
#include "model/family_document.h"
#include "tools/commands.h"
#include "tools/common.h"

namespace suture::cli {
namespace {

namespace po = boost::program_options;

void options(po::options_description& own) {
  own.add_options()("digest", po::bool_switch(), "compute the checkpoint's SHA-256, which reads it all")(
      "families", po::bool_switch(), "print the table of model families instead, as Markdown");
}

int64_t parameters(const model::Checkpoint& checkpoint) {
  int64_t total = 0;
  for (const std::string& name : checkpoint.tensor_names()) {
    int64_t count = 1;
    for (const int64_t n : checkpoint.shape(name)) count *= n;
    total += count;
  }
  return total;
}

std::string activation(model::Activation value) {
  switch (value) {
    case model::Activation::kSilu:
      return "silu";
    case model::Activation::kGelu:
      return "gelu";
    case model::Activation::kGeluTanh:
      return "gelu_tanh";
    case model::Activation::kRelu:
      return "relu";
    case model::Activation::kClampedSwiglu:
      return "clamped swiglu";
  }
  return "?";
}

std::string rope_text(const model::Rope& rope, const model::ModelConfig& c) {
  using model::RopeKind;
  std::string text = fmt::format("rope, theta {}", rope.theta);
  if (rope.dim != c.head_dim) text += fmt::format(" on {} of {} numbers", rope.dim, c.head_dim);
  if (rope.kind == RopeKind::kLinear) text += fmt::format(", linear scaling by {}", rope.factor);
  if (rope.kind == RopeKind::kDynamic)
    text += fmt::format(", dynamic scaling by {} beyond {}", rope.factor, rope.original_context);
  if (rope.kind == RopeKind::kYarn)
    text += fmt::format(", yarn scaling by {} from {}", rope.factor, rope.original_context);
  if (rope.kind == RopeKind::kLlama3)
    text += fmt::format(", llama3 scaling by {} from {}", rope.factor, rope.original_context);
  if (rope.kind == RopeKind::kLongrope) text += fmt::format(", longrope beyond {}", rope.original_context);
  return text;
}

std::string positions(const model::ModelConfig& c) {
  if (c.traits.position == model::Position::kLearned) return fmt::format("learned, {}", c.context);
  if (c.traits.position == model::Position::kAlibi) return fmt::format("alibi; context {}", c.context);
  std::string text;
  for (const model::Rope& rope : c.ropes) text += (text.empty() ? "" : " / ") + rope_text(rope, c);
  const auto without = std::count_if(c.layer.begin(), c.layer.end(), [](const auto& layer) { return layer.rope < 0; });
  if (without > 0) text += fmt::format(", none in {} blocks", without);
  return fmt::format("{}; context {}", text, c.context);
}

// "all earlier tokens", or how many blocks see only so many.
std::string reach(const model::ModelConfig& c) {
  std::map<int64_t, int64_t> blocks;
  for (const model::LayerConfig& layer : c.layer) ++blocks[layer.window];
  if (blocks.size() == 1 && blocks.contains(0)) return "";
  std::string text;
  for (const auto& [window, count] : blocks)
    if (window > 0) text += fmt::format(", a window of {} in {} blocks", window, count);
  return text;
}

std::string norm_text(const model::ModelConfig& c) {
  using model::Norm;
  using model::Placement;
  const bool rms = c.traits.norm == Norm::kRms || c.traits.norm == Norm::kRmsPlusOne;
  const std::string_view where = c.traits.placement == Placement::kAfter    ? " after each part"
                                 : c.traits.placement == Placement::kAround ? " around each part"
                                                                            : "";
  return fmt::format("{}{}", rms ? "rms" : "layer", where);
}

std::string biases(const model::Checkpoint& checkpoint) {
  const bool attention = checkpoint.has({model::Part::kOBias, 0}), mlp = checkpoint.has({model::Part::kDownBias, 0});
  return attention && mlp ? "attention and MLP" : attention ? "attention" : mlp ? "MLP" : "none";
}

// What the post-processor adds around a text, by comparing an encoding with and without it.
Json added_tokens(const text::Tokenizer& tokenizer) {
  Json added = Json::array();
  const std::vector<int32_t> plain = tokenizer.encode("a").ids;
  const std::vector<int32_t> whole = tokenizer.encode("a", {.add_special_tokens = true}).ids;
  const auto common = std::search(whole.begin(), whole.end(), plain.begin(), plain.end());
  const auto spelling = [&](int32_t id) { return tokenizer.id_to_token(id).value_or(""); };
  for (auto it = whole.begin(); it != common; ++it) added.push_back(spelling(*it));
  if (common == whole.end()) return added;
  for (auto it = common + int64_t(plain.size()); it != whole.end(); ++it) added.push_back(spelling(*it));
  return added;
}

Json text_facts(const model::Checkpoint& checkpoint) {
  Json json = {{"tokenizer", nullptr}, {"chat_template", nullptr}, {"stop_tokens", Json::array()}};
  const std::optional<text::Tokenizer> tokenizer = decode::make_tokenizer(checkpoint);
  if (tokenizer) json["tokenizer"] = {{"tokens", tokenizer->vocab_size()}, {"adds", added_tokens(*tokenizer)}};
  if (const auto chat = decode::make_chat_template(checkpoint))
    json["chat_template"] = {{"origin", chat->origin()}, {"source", chat->source()}};
  for (const int32_t id : decode::stop_ids(checkpoint, tokenizer))
    json["stop_tokens"].push_back(
        {{"id", id}, {"token", tokenizer ? Json(tokenizer->id_to_token(id).value_or("")) : Json(nullptr)}});
  return json;
}

Json facts(const model::Checkpoint& checkpoint, bool with_digest) {
  const model::ModelConfig& c = checkpoint.config();
  const int64_t count = parameters(checkpoint), cached = 2 * c.layers * c.kv_heads * c.head_dim;
  Json json = {{"model", checkpoint.path().string()},
               {"format", checkpoint.is_gguf() ? "GGUF" : "Hugging Face folder"},
               {"family", c.family->name},
               {"class", c.family->class_name},
               {"layers", c.layers},
               {"width", c.width},
               {"hidden", c.hidden},
               {"gated", c.traits.gated},
               {"activation", activation(c.activation)},
               {"norm", norm_text(c)},
               {"epsilon", c.eps},
               {"heads", c.heads},
               {"kv_heads", c.kv_heads},
               {"head_dim", c.head_dim},
               {"positions", positions(c)},
               {"context", c.context},
               {"vocabulary", c.vocab},
               {"tied", c.tied},
               {"biases", biases(checkpoint)},
               {"parameters", count},
               {"dtypes", checkpoint.dtypes()},
               {"bytes", checkpoint.bytes()},
               {"memory", {{"fp32", 4 * count}, {"bf16", 2 * count}, {"cache_fp32_per_token", 4 * cached}}}};
  json.update(text_facts(checkpoint));
  json["baking"] = {{"places", model::baking_places(*c.family)}, {"engines", c.family->baking_note}};
  json["digest"] = with_digest ? Json(checkpoint.digest()) : Json(nullptr);
  return json;
}

std::string size_text(double bytes) {
  const char* unit = "B";
  for (const char* larger : {"kB", "MB", "GB", "TB"}) {
    if (bytes < 1000) break;
    bytes /= 1000;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", bytes, bytes < 10 && *unit != 'B' ? 1 : 0, unit);
}

std::string first_line(const std::string& text, size_t limit) {
  const std::string line = text.substr(0, text.find('\n'));
  size_t end = std::min(limit, line.size());
  while (end < line.size() && end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80)
    --end;  // whole characters
  return line.substr(0, end) + (end < text.size() ? "..." : "");
}

std::string joined(const Json& list, std::string_view empty) {
  std::string text;
  for (const Json& item : list) text += (text.empty() ? "" : ", ") + item.get<std::string>();
  return text.empty() ? std::string(empty) : text;
}

std::string stops_text(const Json& stops) {
  std::string text;
  for (const Json& stop : stops) {
    text += text.empty() ? "" : ", ";
    if (stop["token"].is_string()) text += stop["token"].get<std::string>() + " ";
    text += fmt::format("({})", stop["id"].get<int64_t>());
  }
  return text.empty() ? "none" : text;
}

class Lines {
 public:
  template <class... Args>
  void add(std::string_view key, fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format("{:<12}{}\n", key, fmt::format(format, std::forward<Args>(args)...));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void add_shape(Lines& lines, const model::ModelConfig& c, const Json& j) {
  lines.add("blocks", "{} of width {}, {} norm (epsilon {:.6g})", c.layers, c.width, j["norm"].get<std::string>(),
            c.eps);
  lines.add("attention", "{} heads of {}, {} of keys and values{}", c.heads, c.head_dim, c.kv_heads, reach(c));
  lines.add("MLP", "{} wide, {}{}", c.hidden, activation(c.activation), c.traits.gated ? ", gated" : "");
  if (c.experts > 0) {
    const auto sparse = std::count_if(c.layer.begin(), c.layer.end(), [](const auto& layer) { return layer.sparse; });
    lines.add("experts", "{} of {} in {} blocks, {} wide{}", c.top_experts, c.experts, sparse, c.expert_hidden,
              c.shared_hidden > 0 ? fmt::format(", and one shared of {}", c.shared_hidden) : "");
  }
  lines.add("positions", "{}", positions(c));
  lines.add("vocabulary", "{}, {} embedding", c.vocab, c.tied ? "tied" : "untied");
  lines.add("biases", "{}", j["biases"].get<std::string>());
}

void add_text(Lines& lines, const Json& j) {
  if (j["tokenizer"].is_null())
    lines.add("tokenizer", "none: token ids only");
  else
    lines.add("tokenizer", "{} tokens; adds {}", j["tokenizer"]["tokens"].get<int64_t>(),
              joined(j["tokenizer"]["adds"], "nothing to a text"));
  if (j["chat_template"].is_null())
    lines.add("template", "none");
  else
    lines.add("template", "{}: {}", j["chat_template"]["origin"].get<std::string>(),
              first_line(j["chat_template"]["source"].get<std::string>(), 60));
  lines.add("stops at", "{}", stops_text(j["stop_tokens"]));
}

std::string screen(const model::Checkpoint& checkpoint, const Json& j) {
  Lines lines;
  lines.add("model", "{}", checkpoint.path().string());
  lines.add("family", "{} ({}), {}", checkpoint.family().name, checkpoint.family().class_name,
            checkpoint.is_gguf() ? "GGUF file" : "Hugging Face folder");
  add_shape(lines, checkpoint.config(), j);
  lines.add("weights", "{} parameters, {} ({})", j["parameters"].get<int64_t>(), size_text(j["bytes"].get<double>()),
            checkpoint.dtypes());
  lines.add("memory", "{} in fp32, {} in bf16, and {} of cache a token in fp32",
            size_text(j["memory"]["fp32"].get<double>()), size_text(j["memory"]["bf16"].get<double>()),
            size_text(j["memory"]["cache_fp32_per_token"].get<double>()));
  add_text(lines, j);
  std::string_view key = "baking";
  if (j["baking"]["places"].empty()) lines.add(key, "nowhere: steer with a plan instead");
  for (const Json& place : j["baking"]["places"]) lines.add(std::exchange(key, ""), "{}", place.get<std::string>());
  lines.add("engines", "{}", checkpoint.family().baking_note);
  lines.add("digest", "{}", j["digest"].is_null() ? "not computed (--digest)" : j["digest"].get<std::string>());
  return lines.text();
}

int run(const Invocation& invocation) {
  require_no_set(invocation);
  require_new_file(invocation);
  if (invocation.flag("families")) {
    emit(model::families_markdown());
    return 0;
  }
  const auto checkpoint = model::Checkpoint::open(invocation.positional(0, "MODEL"));
  if (invocation.common.check) return 0;
  const Json json = facts(checkpoint, invocation.flag("digest"));
  give(invocation, json, screen(checkpoint, json));
  return 0;
}

}  // namespace

const Command kInspect{.name = "inspect",
                       .usage = "inspect [MODEL] [--digest] [--families] [--json]",
                       .summary = "show what a checkpoint is, and where a vector can be baked into it",
                       .options = options,
                       .run = run};

}  // namespace suture::cli
