// SPDX-License-Identifier: Apache-2.0
#include "text/assets.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/file.h"

namespace suture::text {
namespace {

Json read_optional(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json value = read_json(path, Code::kFile);
  if (!value.is_object()) fail(Code::kFile, "cannot read {}: want a JSON object", path.string());
  return value;
}

// A token is written as its spelling, or as an object whose "content" is the spelling.
std::string spelling(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return "";
  const Json& value = found->is_object() && found->contains("content") ? (*found)["content"] : *found;
  return value.is_string() ? value.get<std::string>() : "";
}

SpecialTokens special_tokens(const Json& config, const Json& map) {
  const auto either = [&](const char* key) {
    std::string text = spelling(config, key);
    return text.empty() ? spelling(map, key) : text;
  };
  return {either("bos_token"), either("eos_token"), either("unk_token"), either("pad_token")};
}

std::string default_of_list(const Json& list, const std::string& origin) {
  std::vector<std::string> names;
  for (const Json& entry : list) {
    if (!entry.is_object() || !entry.contains("template") || !entry["template"].is_string()) {
      fail(Code::kFile, "cannot read {}: chat_template entries need a name and a template", origin);
    }
    names.push_back(entry.value("name", ""));
    if (names.back() == "default" || list.size() == 1) return entry["template"].get<std::string>();
  }
  fail(Code::kModel, "no default chat template in {}: it has {}", origin, fmt::join(names, ", "));
}

std::string template_of(const Json& config, const std::string& origin) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) return default_of_list(*found, origin);
  fail(Code::kFile, "cannot read {}: chat_template is neither a string nor a list", origin);
}

void find_template(const fs::path& folder, TextAssets& assets) {
  const fs::path jinja = folder / "chat_template.jinja";
  if (fs::exists(jinja)) {
    assets.chat_template = read_text(jinja, Code::kFile);
    assets.template_origin = jinja.string();
    return;
  }
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const fs::path path = folder / name;
    const Json config = path.filename() == "tokenizer_config.json" ? assets.tokenizer_config : read_optional(path);
    assets.chat_template = template_of(config, path.string());
    if (assets.chat_template.empty()) continue;
    assets.template_origin = fmt::format("{} (chat_template)", path.string());
    return;
  }
}

}  // namespace

// The spellings that model makers end a turn with. One counts only where the template itself writes it.
std::vector<std::string> stop_tokens_of(const std::string& chat_template, const std::string& eos) {
  constexpr std::array<std::string_view, 6> kEndOfTurn = {"<|im_end|>",      "<|eot_id|>", "<end_of_turn>",
                                                          "<|end_of_turn|>", "<|eot|>",    "<|end|>"};
  std::vector<std::string> tokens;
  if (!eos.empty()) tokens.push_back(eos);
  for (const std::string_view token : kEndOfTurn) {
    if (token != eos && chat_template.find(token) != std::string::npos) tokens.emplace_back(token);
  }
  return tokens;
}

TextAssets read_text_assets(const fs::path& folder) {
  TextAssets assets;
  if (const fs::path path = folder / "tokenizer.json"; fs::exists(path)) {
    assets.tokenizer_json = read_text(path, Code::kFile);
  }
  assets.tokenizer_config = read_optional(folder / "tokenizer_config.json");
  assets.special = special_tokens(assets.tokenizer_config, read_optional(folder / "special_tokens_map.json"));
  find_template(folder, assets);
  assets.stop_tokens = stop_tokens_of(assets.chat_template, assets.special.eos);
  return assets;
}

std::map<std::string, std::string> to_files(const TextAssets& assets) {
  std::map<std::string, std::string> files;
  if (!assets.tokenizer_json.empty()) files["tokenizer.json"] = assets.tokenizer_json;
  Json map = Json::object();
  const auto note = [&](const char* key, const std::string& token) {
    if (!token.empty()) map[key] = token;
  };
  note("bos_token", assets.special.bos);
  note("eos_token", assets.special.eos);
  note("unk_token", assets.special.unk);
  note("pad_token", assets.special.pad);
  Json config = assets.tokenizer_config;
  for (const auto& [key, token] : map.items()) {
    if (!config.contains(key)) config[key] = token;
  }
  if (!assets.chat_template.empty()) {
    config.erase("chat_template");
    files["chat_template.jinja"] = assets.chat_template;
  }
  files["tokenizer_config.json"] = to_text(config);
  files["special_tokens_map.json"] = to_text(map);
  return files;
}

}  // namespace suture::text
