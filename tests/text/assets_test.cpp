// SPDX-License-Identifier: Apache-2.0
#include "text/assets.h"

#include <algorithm>

#include "text_fixtures.h"

namespace suture::text {
namespace {

void write(const fs::path& path, const std::string& text) { write_atomically(path, text); }

TEST(TextAssets, OfAnEmptyFolderAreEmpty) {
  const TextAssets assets = read_text_assets(fresh_folder("empty"));
  EXPECT_EQ(assets.tokenizer_json, "");
  EXPECT_EQ(assets.chat_template, "");
  EXPECT_EQ(assets.special, SpecialTokens{});
  EXPECT_TRUE(assets.stop_tokens.empty());
}

TEST(TextAssets, ReadsSpecialTokensInBothSpellings) {
  const fs::path folder = fresh_folder("special");
  write(folder / "tokenizer_config.json",
        R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null})");
  write(folder / "special_tokens_map.json", R"({"pad_token": "<pad>", "unk_token": {"content": "<unk>"}})");
  const SpecialTokens special = read_text_assets(folder).special;
  EXPECT_EQ(special.bos, "<s>");
  EXPECT_EQ(special.eos, "</s>");
  EXPECT_EQ(special.unk, "<unk>");
  EXPECT_EQ(special.pad, "<pad>");
}

TEST(TextAssets, PrefersTheTemplateFile) {
  const fs::path folder = fresh_folder("template");
  write(folder / "chat_template.json", R"({"chat_template": "legacy"})");
  EXPECT_EQ(read_text_assets(folder).chat_template, "legacy");
  write(folder / "tokenizer_config.json", R"({"chat_template": "from the config"})");
  TextAssets assets = read_text_assets(folder);
  EXPECT_EQ(assets.chat_template, "from the config");
  EXPECT_EQ(assets.template_origin, (folder / "tokenizer_config.json").string() + " (chat_template)");
  write(folder / "chat_template.jinja", "from the file");
  assets = read_text_assets(folder);
  EXPECT_EQ(assets.chat_template, "from the file");
  EXPECT_EQ(assets.template_origin, (folder / "chat_template.jinja").string());
}

TEST(TextAssets, PicksTheDefaultOfAList) {
  const fs::path folder = fresh_folder("list");
  const fs::path config = folder / "tokenizer_config.json";
  write(config, R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(read_text_assets(folder).chat_template, "D");
  write(config, R"({"chat_template": [{"name": "rag", "template": "R"}, {"name": "tool_use", "template": "T"}]})");
  EXPECT_EQ(message_of(Code::kModel, [&] { read_text_assets(folder); }),
            "no default chat template in " + config.string() + ": it has rag, tool_use");
  write(config, R"({"chat_template": 3})");
  message_of(Code::kFile, [&] { read_text_assets(folder); });
}

TEST(TextAssets, ReadsAdditionalTemplates) {
  const fs::path folder = fresh_folder("additional");
  write(folder / "tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "old"}, {"name": "rag", "template": "R"}]})");
  EXPECT_EQ(read_text_assets(folder).other_templates, (std::map<std::string, std::string>{{"rag", "R"}}));
  fs::create_directories(folder / "additional_chat_templates");
  write(folder / "additional_chat_templates/tool_use.jinja", "T");
  write(folder / "additional_chat_templates/notes.txt", "no template");
  EXPECT_EQ(message_of(Code::kModel, [&] { read_text_assets(folder); }),
            "no default chat template in " + folder.string() + ": it has tool_use")
      << "template files replace the configuration's";
  write(folder / "chat_template.jinja", "D");
  const TextAssets assets = read_text_assets(folder);
  EXPECT_EQ(assets.chat_template, "D");
  EXPECT_EQ(assets.other_templates, (std::map<std::string, std::string>{{"tool_use", "T"}}));
}

TEST(TextAssets, StopsAtTheUnionOfAllFiles) {
  const fs::path folder = fresh_folder("stops");
  EXPECT_TRUE(read_text_assets(folder).stop_ids.empty());
  write(folder / "generation_config.json", R"({"eos_token_id": [128001, 128009]})");
  write(folder / "config.json", R"({"eos_token_id": 128001, "text_config": {"eos_token_id": [5]}})");
  write(folder / "tokenizer_config.json", R"({"eos_token": "<|im_end|>", "chat_template": "{{ x }}<|eot_id|>"})");
  write(folder / "special_tokens_map.json", R"({"eos_token": {"content": "<|endoftext|>"}})");
  const TextAssets assets = read_text_assets(folder);
  EXPECT_EQ(assets.stop_ids, (std::vector<int32_t>{128001, 128009, 5}));
  EXPECT_EQ(assets.stop_tokens, (std::vector<std::string>{"<|im_end|>", "<|eot_id|>", "<|endoftext|>"}));
  // <|endoftext|> is 0 and <|im_end|> 2 in this vocabulary, which has no <|eot_id|>.
  EXPECT_EQ(all_stop_ids(assets, load_tokenizer("bytelevel_tokenizer.json")),
            (std::vector<int32_t>{0, 2, 5, 128001, 128009}));
  write(folder / "generation_config.json", R"({"eos_token_id": null})");
  write(folder / "config.json", R"({"eos_token_id": [-1, "x"]})");
  EXPECT_TRUE(read_text_assets(folder).stop_ids.empty());
}

TEST(TextAssets, RefusesBrokenFiles) {
  const fs::path folder = fresh_folder("broken");
  write(folder / "tokenizer_config.json", "[]");
  message_of(Code::kFile, [&] { read_text_assets(folder); });
  write(folder / "tokenizer_config.json", "{");
  message_of(Code::kFile, [&] { read_text_assets(folder); });
}

TEST(TextAssets, StopsAtTheTurnEndThatTheTemplateWrites) {
  const std::string chat = "<|im_start|>{{ x }}<|im_end|>";
  EXPECT_EQ(stop_tokens_of(chat, "<|endoftext|>"), (std::vector<std::string>{"<|endoftext|>", "<|im_end|>"}));
  EXPECT_EQ(stop_tokens_of(chat, "<|im_end|>"), std::vector<std::string>{"<|im_end|>"});
  EXPECT_TRUE(stop_tokens_of("plain", "").empty());
}

GgufVocabulary smollm() {
  GgufVocabulary vocabulary = load_vocabulary("bytelevel_gguf.json", "gpt2", "smollm");
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  vocabulary.unk_id = 0;
  vocabulary.pad_id = 2;
  vocabulary.add_bos = false;
  vocabulary.chat_template = read_text(fixture("templates/chatml.jinja"));
  return vocabulary;
}

GgufVocabulary llama() {
  GgufVocabulary vocabulary = load_vocabulary("spm_gguf.json", "llama", "default");
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  return vocabulary;
}

Tokenizer built(const GgufVocabulary& vocabulary) {
  return Tokenizer::from_json(assets_from_gguf(vocabulary).tokenizer_json, "built");
}

// Expected ids were made with pre-tokenizers put together in Python.
TEST(GgufVocabulary, ByteLevelEncodesAsTheReference) {
  const Json expected = read_json(fixture("bytelevel_gguf_expected.json"));
  for (const auto& [pre, rows] : expected["ids"].items()) {
    const Tokenizer tokenizer = built(load_vocabulary("bytelevel_gguf.json", "gpt2", pre));
    const Json& texts = expected["texts"].size() == rows.size() ? expected["texts"] : expected["more_texts"];
    ASSERT_EQ(texts.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(tokenizer.encode(texts[i].get<std::string>()).ids, ids_of(rows[i])) << pre << " " << texts[i].dump();
    }
  }
  EXPECT_EQ(expected["ids"].size(), 14u);
}

// Expected ids were made by the sentencepiece library from the model whose vocabulary and scores the file lists.
TEST(GgufVocabulary, ScoresGiveSentencePieceIds) {
  const Tokenizer tokenizer = built(llama());
  for (const Json& row : read_json(fixture("spm_gguf_expected.json"))) {
    const std::string text = row["text"];
    EXPECT_EQ(tokenizer.encode(text, {.parse_special = false}).ids, ids_of(row["ids"])) << row["text"].dump();
    if (text.find("\u2581") != text.npos) continue;  // the mark for a space reads back as a space
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {.parse_special = false}).ids, false), text);
  }
}

TEST(GgufVocabulary, RebuiltTokenizerEqualsTheOriginal) {
  for (const auto& [vocabulary, name] : {std::pair(smollm(), "bytelevel"), std::pair(llama(), "spm")}) {
    const Tokenizer tokenizer = built(vocabulary);
    for (const Json& row : read_json(fixture(std::string(name) + "_expected.json"))) {
      SCOPED_TRACE(row["text"].dump());
      const Encoding encoding = tokenizer.encode(row["text"].get<std::string>());
      EXPECT_EQ(encoding.ids, ids_of(row["ids"]));
      EXPECT_EQ(encoding.offsets, spans_of(row["offsets"]));
      EXPECT_EQ(tokenizer.decode(ids_of(row["with_special"])), row["decoded"].get<std::string>());
    }
  }
}

TEST(GgufVocabulary, AddsBosAndEosAsTheFileSays) {
  GgufVocabulary vocabulary = llama();
  const EncodeOptions special = {.add_special_tokens = true};
  EXPECT_EQ(built(vocabulary).encode("a", special).ids.front(), 1) << "SentencePiece vocabularies add BOS by default";
  vocabulary.add_bos = false;
  EXPECT_EQ(built(vocabulary).encode("", special).ids.size(), 0u);
  vocabulary.add_eos = true;
  EXPECT_EQ(built(vocabulary).encode("", special).ids, std::vector<int32_t>{2});
  vocabulary.bos_id = -1;
  vocabulary.add_bos = true;
  EXPECT_EQ(message_of(Code::kFile, [&] { built(vocabulary); }), "the GGUF vocabulary adds BOS but names no BOS token");
}

TEST(GgufVocabulary, StopsAtEveryEndThatTheFileNames) {
  GgufVocabulary vocabulary = smollm();
  vocabulary.eot_id = 0;
  vocabulary.eom_id = 2;  // EOS again
  EXPECT_EQ(assets_from_gguf(vocabulary).stop_tokens, (std::vector<std::string>{"<|im_end|>", "<|endoftext|>"}));
  vocabulary.eot_id = 701;
  EXPECT_EQ(message_of(Code::kFile, [&] { assets_from_gguf(vocabulary); }),
            "end-of-turn id 701 is outside the GGUF vocabulary of 701 tokens");
}

TEST(GgufVocabulary, WithoutSpacePrefix) {
  GgufVocabulary vocabulary = llama();
  vocabulary.add_space_prefix = false;
  const Tokenizer tokenizer = built(vocabulary);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(" the sea").ids), " the sea");
  EXPECT_NE(tokenizer.encode("the sea").ids, built(llama()).encode("the sea").ids);
}

TEST(GgufVocabulary, GivesTheFilesOfAFolder) {
  const TextAssets assets = assets_from_gguf(smollm());
  EXPECT_EQ(assets.special, (SpecialTokens{"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_end|>"}));
  EXPECT_EQ(assets.stop_tokens, std::vector<std::string>{"<|im_end|>"});
  const fs::path folder = fresh_folder("folder");
  const auto files = to_files(assets);
  for (const auto& [name, content] : files) write(folder / name, content);
  EXPECT_EQ(files.size(), 4u);
  const TextAssets again = read_text_assets(folder);
  EXPECT_EQ(again.tokenizer_json, assets.tokenizer_json);
  EXPECT_EQ(again.chat_template, assets.chat_template);
  EXPECT_EQ(again.special, assets.special);
  EXPECT_EQ(again.stop_tokens, assets.stop_tokens);
  EXPECT_FALSE(again.tokenizer_config.contains("chat_template"));
  EXPECT_EQ(to_files(again), files);
}

TEST(GgufVocabulary, RefusesByName) {
  GgufVocabulary vocabulary = smollm();
  vocabulary.pre = "martian";
  EXPECT_EQ(message_of(Code::kModel, [&] { assets_from_gguf(vocabulary); }),
            fmt::format("unsupported pre-tokenizer 'martian' in the GGUF vocabulary: known are {}",
                        fmt::join(known_pre_tokenizers(), ", ")));
  const std::vector<std::string> known = known_pre_tokenizers();
  for (const char* name : {"default", "gpt-2", "smollm", "starcoder", "llama-bpe", "qwen2", "tekken", "gpt-4o",
                           "llama4", "dbrx", "glm4", "falcon", "olmo", "mpt", "stablelm2", "deepseek-v3", "phi-2"}) {
    EXPECT_EQ(std::count(known.begin(), known.end(), name), 1) << name;
    vocabulary.pre = name;
    Tokenizer::from_json(assets_from_gguf(vocabulary).tokenizer_json, name);
  }
  for (const char* model : {"t5", "bert", "rwkv", "gemma4"}) {
    vocabulary.model = model;
    EXPECT_EQ(message_of(Code::kModel, [&] { assets_from_gguf(vocabulary); }),
              fmt::format("unsupported tokenizer model '{}' in the GGUF vocabulary: known are gpt2, llama", model));
  }
}

TEST(GgufVocabulary, RefusesContradictions) {
  const auto refusal = [](GgufVocabulary vocabulary, auto&& change) {
    change(vocabulary);
    return message_of(Code::kFile, [&] { assets_from_gguf(vocabulary); });
  };
  EXPECT_EQ(refusal(smollm(), [](auto& v) { v.tokens[9] = v.tokens[8]; }),
            fmt::format("tokens 8 and 9 of the GGUF vocabulary are both '{}'", smollm().tokens[8]));
  EXPECT_EQ(refusal(smollm(), [](auto& v) { v.types.pop_back(); }),
            "the GGUF vocabulary has 701 tokens but 700 token types");
  EXPECT_EQ(refusal(smollm(), [](auto& v) { v.merges[3] = "nospace"; }),
            "merge 3 of the GGUF vocabulary is no pair: 'nospace'");
  EXPECT_EQ(refusal(smollm(), [](auto& v) { v.merges[3] = "qq zz"; }),
            "merge 3 of the GGUF vocabulary needs 'qq', which is no token");
  EXPECT_EQ(refusal(smollm(), [](auto& v) { v.eos_id = 701; }),
            "EOS id 701 is outside the GGUF vocabulary of 701 tokens");
  EXPECT_EQ(refusal(llama(), [](auto& v) { v.scores.clear(); }), "the GGUF vocabulary has 640 tokens but 0 scores");
  EXPECT_EQ(refusal(llama(), [](auto& v) { v.tokens.clear(); }), "the GGUF vocabulary has no tokens");
  EXPECT_EQ(refusal(llama(), [](auto& v) { v.tokens[7] = "\xC3"; }),
            "token 7 of the GGUF vocabulary is not valid UTF-8");
}

}  // namespace
}  // namespace suture::text
