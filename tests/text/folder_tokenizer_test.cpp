// SPDX-License-Identifier: Apache-2.0
#include "text/folder_tokenizer.h"

#include <random>

#include "text/sentencepiece_model.h"
#include "text_fixtures.h"

namespace suture::text {
namespace {

fs::path shared(const std::string& name) { return fixture("folders/" + name); }

std::vector<std::string> texts() { return read_json(shared("expected.json"))["texts"].get<std::vector<std::string>>(); }

// A folder of the case's vocabulary files and configurations.
fs::path folder_of(const Json& row) {
  const fs::path folder = fresh_folder(row["name"]);
  for (const std::string file : row["vocabulary"]) {
    fs::copy_file(shared(file), folder / (file.ends_with(".model") ? "tokenizer.model" : file));
  }
  for (const auto& [name, value] : row["files"].items()) write_atomically(folder / (name + ".json"), value.dump());
  return folder;
}

// Expected values come from transformers' AutoTokenizer, through tests/oracle/make_text_folder_fixtures.py.
TEST(FolderTokenizer, EncodesAsTransformers) {
  const std::vector<std::string> all = texts();
  const Json cases = read_json(shared("expected.json"))["cases"];
  EXPECT_EQ(cases.size(), 23u);
  for (const Json& row : cases) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const TextAssets assets = read_text_assets(folder_of(row));
    const Tokenizer tokenizer = Tokenizer::from_json(assets.tokenizer_json, row["name"]);
    EXPECT_EQ(assets.special.bos, row["bos"].get<std::string>());
    EXPECT_EQ(assets.special.eos, row["eos"].get<std::string>());
    const auto step = row["step"].get<size_t>();
    for (size_t i = 0; i < row["ids"].size(); ++i) {
      const std::string& text = all[i * step];
      EXPECT_EQ(tokenizer.encode(text).ids, ids_of(row["ids"][i])) << Json(text).dump();
    }
    for (size_t i = 0; i < 3; ++i) {
      const std::string& text = all[std::array<size_t, 3>{0, 2, 3}[i]];
      EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = true}).ids, ids_of(row["special"][i])) << text;
    }
    for (size_t i = 0; i < row["decoded"].size(); ++i) {
      EXPECT_EQ(tokenizer.decode(ids_of(row["ids"][i]), false), row["decoded"][i].get<std::string>());
    }
    Json added = Json::array();
    for (const NamedToken& token : tokenizer.added_tokens()) {
      added.push_back(Json::array({token.id, token.content, token.special}));
    }
    EXPECT_EQ(added, row["added"]);
  }
}

TEST(FolderTokenizer, AwkwardTextsEncodeAsTransformers) {
  const std::vector<std::string> all = texts();
  const Json vocabulary = read_json(shared("vocab.json"));
  Json merges = Json::array();
  std::istringstream lines(read_text(shared("merges.txt")));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("#")) merges.push_back(line);
  }
  const Json cases = read_json(shared("fuzz_expected.json"))["cases"];
  for (const Json& row : cases) {
    SCOPED_TRACE(row["name"].get<std::string>());
    Json description = row["tokenizer"];
    if (description["model"]["type"] == "BPE") {
      description["model"]["vocab"] = vocabulary;
      description["model"]["merges"] = merges;
    }
    const Tokenizer tokenizer = Tokenizer::from_json(description.dump(), row["name"]);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(tokenizer.encode(all[i]).ids, ids_of(row["ids"][i])) << Json(all[i]).dump();
    }
    for (size_t i = 0; i < row["plain"].size(); ++i) {
      EXPECT_EQ(tokenizer.encode(all[11 + i], {.parse_special = false}).ids, ids_of(row["plain"][i]));
    }
  }
}

Json case_named(const std::string& name) {
  const Json cases = read_json(shared("expected.json"))["cases"];
  for (const Json& row : cases) {
    if (row["name"] == name) return row;
  }
  ADD_FAILURE() << "no case " << name;
  return {};
}

TEST(FolderTokenizer, PrefersTokenizerJson) {
  const fs::path folder = folder_of(case_named("gpt2"));
  write_atomically(folder / "tokenizer.json", "its text");
  EXPECT_EQ(read_text_assets(folder).tokenizer_json, "its text");
}

TEST(FolderTokenizer, WritesWhatItBuilt) {
  const TextAssets assets = read_text_assets(folder_of(case_named("llama-added")));
  const fs::path folder = fresh_folder("again");
  for (const auto& [name, content] : to_files(assets)) write_atomically(folder / name, content);
  EXPECT_EQ(read_text_assets(folder).tokenizer_json, assets.tokenizer_json);
  EXPECT_EQ(read_text_assets(folder).special, assets.special);
}

TEST(FolderTokenizer, SaysWhyThereIsNone) {
  const fs::path folder = fresh_folder("none");
  EXPECT_EQ(read_text_assets(folder).tokenizer_problem, "") << "no vocabulary, no problem";
  write_atomically(folder / "tekken.json", "{}");
  EXPECT_EQ(read_text_assets(folder).tokenizer_problem,
            fmt::format("unsupported vocabulary {}: save the tokenizer with tokenizer.json",
                        (folder / "tekken.json").string()));
  write_atomically(folder / "tokenizer.model", "IQ== 0\nIg== 1\n");
  EXPECT_EQ(read_text_assets(folder).tokenizer_problem,
            fmt::format("unsupported vocabulary {}: it is in tiktoken's format; save the tokenizer with tokenizer.json",
                        (folder / "tokenizer.model").string()));
  fs::copy_file(shared("bytes.model"), folder / "tokenizer.model", fs::copy_options::overwrite_existing);
  write_atomically(folder / "tokenizer_config.json", R"({"tokenizer_class": "T5TokenizerFast"})");
  EXPECT_EQ(
      read_text_assets(folder).tokenizer_problem,
      fmt::format("cannot build T5Tokenizer from tokenizer.model in {}: save it with tokenizer.json", folder.string()));
  EXPECT_EQ(read_text_assets(folder).tokenizer_json, "");
}

TEST(FolderTokenizer, RefusesIdsThatCannotBe) {
  Json row = case_named("qwen2");
  Json& added = row["files"]["tokenizer_config"]["added_tokens_decoder"];
  added["530"] = added["522"];
  added.erase("522");
  const fs::path folder = folder_of(row);
  EXPECT_EQ(message_of(Code::kFile, [&] { read_text_assets(folder); }),
            fmt::format("cannot add token '<tool>' of {} as id 530: the vocabulary leads to id 522", folder.string()));
}

TEST(FolderTokenizer, RefusesBrokenVocabularies) {
  const fs::path folder = folder_of(case_named("gpt2"));
  const auto refusal = [&] { return message_of(Code::kFile, [&] { read_text_assets(folder); }); };
  write_atomically(folder / "merges.txt", "#version: 0.2\na b\nab\n");
  EXPECT_EQ(refusal(),
            fmt::format("cannot read {}: line 3 is no pair of tokens: 'ab'", (folder / "merges.txt").string()));
  write_atomically(folder / "vocab.json", R"({"a": 0, "b": 2})");
  EXPECT_EQ(refusal(), fmt::format("cannot read {}: token 'b' has id 2, want ids 0..1 once each",
                                   (folder / "vocab.json").string()));
  write_atomically(folder / "vocab.json", R"({"a": 0, "b": 0})");
  refusal();
  write_atomically(folder / "vocab.json", "[]");
  EXPECT_EQ(refusal(), fmt::format("cannot read {}: want a JSON object", (folder / "vocab.json").string()));
}

TEST(SentencePieceModel, ReadsItsSettings) {
  const SentencePieceModel gemma = parse_sentencepiece(read_text(shared("gemma.model")), "gemma.model");
  EXPECT_EQ(gemma.kind, SentencePieceModel::kBpe);
  EXPECT_TRUE(gemma.byte_fallback);
  EXPECT_FALSE(gemma.add_dummy_prefix);
  EXPECT_FALSE(gemma.remove_extra_whitespaces);
  EXPECT_EQ(gemma.unk_id, 3);
  EXPECT_EQ(gemma.bos_piece, "<bos>");
  EXPECT_EQ(gemma.pieces[0].text, "<pad>");
  EXPECT_EQ(gemma.pieces[0].type, SentencePieceModel::kControl);
  EXPECT_EQ(gemma.pieces[3].type, SentencePieceModel::kUnknown);
  EXPECT_EQ(gemma.pieces[5].type, SentencePieceModel::kUserDefined);
  const SentencePieceModel unigram = parse_sentencepiece(read_text(shared("unigram.model")), "unigram.model");
  EXPECT_EQ(unigram.kind, SentencePieceModel::kUnigram);
  EXPECT_FALSE(unigram.charsmap.empty());
  EXPECT_TRUE(unigram.remove_extra_whitespaces);
}

std::string field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) + bytes;
}

TEST(SentencePieceModel, RefusesWhatIsNone) {
  const auto refusal = [](const std::string& bytes) {
    return message_of(Code::kFile, [&] { parse_sentencepiece(bytes, "m"); });
  };
  EXPECT_EQ(refusal(""), "cannot read m: no SentencePiece model: it has no pieces");
  EXPECT_EQ(refusal("version https://git-lfs"),
            "cannot read m: no SentencePiece model: a field of an unknown kind near byte 1");
  EXPECT_EQ(refusal("\x0A\x7F"), "cannot read m: no SentencePiece model: a field longer than the file near byte 2");
  EXPECT_EQ(refusal("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
            "cannot read m: no SentencePiece model: a number that is too long near byte 11");
  EXPECT_EQ(refusal("\x0A\x80"), "cannot read m: no SentencePiece model: a number that is cut off near byte 2");
  EXPECT_EQ(refusal("\x08\x01"), "cannot read m: no SentencePiece model: a number where a message belongs near byte 2");
  const std::string a = field(1, field(1, "a")), b = field(1, field(1, "b"));
  EXPECT_EQ(refusal(a + b + a), "cannot read m: pieces 0 and 2 are both 'a'");
  EXPECT_EQ(refusal(field(1, field(1, "\xC3"))), "cannot read m: piece 0 is not valid UTF-8");
  EXPECT_EQ(refusal(field(1, field(1, "a") + std::string("\x15\x00\x00\xC0\x7F", 5))),
            "cannot read m: piece 0 has no finite score");
  EXPECT_EQ(refusal(a + field(2, std::string("\xC0\x02\x05", 3))),
            "cannot read m: unknown token id 5 is outside its 1 pieces");
}

// Cut and damaged files end in an error or in a model, never in anything else.
TEST(SentencePieceModel, SurvivesDamage) {
  const std::string whole = read_text(shared("llama.model"));
  std::mt19937 draw(7);
  int refused = 0;
  for (int round = 0; round < 400; ++round) {
    std::string bytes = whole.substr(0, round % 2 == 0 ? draw() % whole.size() : whole.size());
    for (int i = 0; i < 3 && !bytes.empty(); ++i) bytes[draw() % bytes.size()] = static_cast<char>(draw());
    try {
      parse_sentencepiece(bytes, "m");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kFile);
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace suture::text
