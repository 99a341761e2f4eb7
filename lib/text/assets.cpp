// SPDX-License-Identifier: Apache-2.0
#include "text/assets.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "text/folder_tokenizer.h"

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

using Templates = std::map<std::string, std::string>;

// By name; a lone unnamed or differently named one is the default.
Templates listed_templates(const Json& list, const std::string& origin) {
  Templates templates;
  for (const Json& entry : list) {
    if (!entry.is_object() || !entry.contains("template") || !entry["template"].is_string()) {
      fail(Code::kFile, "cannot read {}: chat_template entries need a name and a template", origin);
    }
    const std::string name = list.size() == 1 ? "default" : entry.value("name", "");
    templates[name] = entry["template"].get<std::string>();
  }
  return templates;
}

Templates templates_of(const Json& config, const std::string& origin) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return {};
  if (found->is_string()) return {{"default", found->get<std::string>()}};
  if (found->is_array()) return listed_templates(*found, origin);
  fail(Code::kFile, "cannot read {}: chat_template is neither a string nor a list", origin);
}

Templates template_files(const fs::path& folder) {
  Templates templates;
  if (const fs::path path = folder / "chat_template.jinja"; fs::exists(path)) {
    templates["default"] = read_text(path, Code::kFile);
  }
  const fs::path others = folder / "additional_chat_templates";
  if (!fs::is_directory(others)) return templates;
  for (const auto& entry : fs::directory_iterator(others)) {
    if (entry.path().extension() != ".jinja") continue;
    templates.emplace(entry.path().stem().string(), read_text(entry.path(), Code::kFile));
  }
  return templates;
}

void take_templates(Templates templates, std::string origin, TextAssets& assets) {
  const auto chosen = templates.find("default");
  if (chosen == templates.end()) {
    std::vector<std::string> names;
    for (const auto& [name, source] : templates) names.push_back(name);
    fail(Code::kModel, "no default chat template in {}: it has {}", origin, fmt::join(names, ", "));
  }
  assets.chat_template = std::move(chosen->second);
  templates.erase(chosen);
  assets.other_templates = std::move(templates);
  assets.template_origin = std::move(origin);
}

void find_template(const fs::path& folder, TextAssets& assets) {
  if (Templates files = template_files(folder); !files.empty()) {
    const bool has_default = files.contains("default");
    return take_templates(std::move(files), (has_default ? folder / "chat_template.jinja" : folder).string(), assets);
  }
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const fs::path path = folder / name;
    const Json config = path.filename() == "tokenizer_config.json" ? assets.tokenizer_config : read_optional(path);
    Templates templates = templates_of(config, path.string());
    if (templates.empty() || templates == Templates{{"default", ""}}) continue;
    const bool several = config["chat_template"].is_array();
    const bool whole = several && !templates.contains("default");
    return take_templates(std::move(templates), whole ? path.string() : path.string() + " (chat_template)", assets);
  }
}

void append_token(const std::string& token, std::vector<std::string>& tokens) {
  if (!token.empty() && std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
}

// A number, or a list of them.
void append_ids(const Json& config, std::vector<int32_t>& ids) {
  const auto found = config.find("eos_token_id");
  if (found == config.end()) return;
  for (const Json& id : found->is_array() ? *found : Json::array({*found})) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) continue;
    if (std::find(ids.begin(), ids.end(), id.get<int32_t>()) == ids.end()) ids.push_back(id.get<int32_t>());
  }
}

std::vector<int32_t> named_stop_ids(const Json& generation_config, const Json& config) {
  std::vector<int32_t> ids;
  append_ids(generation_config, ids);
  append_ids(config, ids);
  if (config.contains("text_config") && config["text_config"].is_object()) append_ids(config["text_config"], ids);
  return ids;
}

void find_tokenizer(const fs::path& folder, const Json& map, const Json& config, TextAssets& assets) {
  assets.special = special_tokens(assets.tokenizer_config, map);
  if (const fs::path path = folder / "tokenizer.json"; fs::exists(path)) {
    assets.tokenizer_json = read_text(path, Code::kFile);
    return;
  }
  try {
    FolderTokenizer built = build_folder_tokenizer(folder, assets.tokenizer_config, map, config);
    if (built.tokenizer_json.empty()) return;
    assets.tokenizer_json = std::move(built.tokenizer_json);
    assets.special = std::move(built.special);
  } catch (const Error& error) {
    if (error.code() != Code::kModel) throw;
    assets.tokenizer_problem = error.what();
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

std::vector<int32_t> all_stop_ids(const TextAssets& assets, const Tokenizer& tokenizer) {
  std::set<int32_t> ids(assets.stop_ids.begin(), assets.stop_ids.end());
  for (const std::string& token : assets.stop_tokens) {
    if (const auto id = tokenizer.token_to_id(token)) ids.insert(*id);
  }
  return {ids.begin(), ids.end()};
}

TextAssets read_text_assets(const fs::path& folder) {
  TextAssets assets;
  assets.tokenizer_config = read_optional(folder / "tokenizer_config.json");
  const Json map = read_optional(folder / "special_tokens_map.json"), config = read_optional(folder / "config.json");
  find_tokenizer(folder, map, config, assets);
  find_template(folder, assets);
  assets.stop_tokens = stop_tokens_of(assets.chat_template, assets.special.eos);
  for (const Json* file : {&std::as_const(assets).tokenizer_config, &map}) {
    append_token(spelling(*file, "eos_token"), assets.stop_tokens);
  }
  assets.stop_ids = named_stop_ids(read_optional(folder / "generation_config.json"), config);
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
