// SPDX-License-Identifier: Apache-2.0
#include "text/dataset.h"

#include "core/digest.h"
#include "text_fixtures.h"

namespace suture::text {
namespace {

class Datasets : public testing::Test {
 protected:
  void SetUp() override { folder_ = fresh_folder("data"); }

  Dataset read(const std::string& name, const std::string& content) {
    write_atomically(folder_ / name, content);
    return read_dataset(folder_ / name);
  }

  // The refusal of a file, without the folder's name.
  std::string refusal(const std::string& name, const std::string& content) {
    std::string message = message_of(Code::kData, [&] { read(name, content); });
    const std::string prefix = folder_.string() + "/";
    for (size_t at = message.find(prefix); at != message.npos; at = message.find(prefix))
      message.erase(at, prefix.size());
    return message;
  }

  std::string short_place(const Dataset& data, size_t row) {
    return data.place(data.rows[row]).substr(folder_.string().size() + 1);
  }

  fs::path folder_;
};

TEST_F(Datasets, CsvKeepsCommasQuotesAndLineEnds) {
  const std::string content =
      "\xEF\xBB\xBFQuestion,\"Topic, wide\"\r\n\"a, \"\"b\"\"\",x\r\n\"two\r\nlines\",y\r\nplain,\r\n";
  const Dataset data = read("a.csv", content);
  EXPECT_EQ(data.columns, (std::vector<std::string>{"Question", "Topic, wide"}));
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.text(data.rows[0], "Question"), "a, \"b\"");
  EXPECT_EQ(data.text(data.rows[1], "Question"), "two\r\nlines");
  EXPECT_EQ(data.text(data.rows[2], "Topic, wide"), "");
  EXPECT_EQ(data.rows[0].line, 2);
  EXPECT_EQ(data.rows[1].line, 3);
  EXPECT_EQ(data.rows[2].line, 5);
  EXPECT_EQ(short_place(data, 2), "a.csv:5");
  EXPECT_EQ(data.digest, sha256(content)) << "of the file's bytes, with its byte order mark";
}

TEST_F(Datasets, CsvLastLineMayLackItsEnd) {
  EXPECT_EQ(read("a.csv", "q\nx").rows.size(), 1u);
  EXPECT_EQ(read("a.csv", "q\nx\n").rows.size(), 1u);
  EXPECT_EQ(read("a.csv", "q\r\nx\r\n\r\n").rows.size(), 1u);
  EXPECT_EQ(read("a.csv", "q,r\nx,y\n\n").rows.size(), 1u);
  EXPECT_EQ(read("a.csv", "q\n").rows.size(), 0u);
  EXPECT_EQ(read("a.csv", "q,r\n,\n").rows.size(), 1u);
}

TEST_F(Datasets, CsvErrorsNameTheLine) {
  EXPECT_EQ(refusal("a.csv", ""), "cannot read a.csv: the file is empty, want a line with column names");
  EXPECT_EQ(refusal("a.csv", "q,t\na,b\n\"x\ny\",z\nc\n"), "cannot read a.csv:5: 1 field, want 2 (q, t)");
  EXPECT_EQ(refusal("a.csv", "q,t\na,b,c\n"), "cannot read a.csv:2: 3 fields, want 2 (q, t)");
  EXPECT_EQ(refusal("a.csv", "q,t\n\na,b\n"), "cannot read a.csv:2: 1 field, want 2 (q, t)");
  EXPECT_EQ(refusal("a.csv", "q,t\na,b\n\"open,c\nd,e\n"),
            "cannot read a.csv:3: quote is not closed before the end of the file");
  EXPECT_EQ(refusal("a.csv", "q\n\"a\"b\n"), "cannot read a.csv:2: text after the closing quote of a field");
  EXPECT_EQ(refusal("a.csv", "q\na\"b\n"),
            "cannot read a.csv:2: quote inside an unquoted field: quote the field and double the quote");
  EXPECT_EQ(refusal("a.csv", "q,q\n"), "cannot read a.csv:1: column 'q' appears twice");
  EXPECT_EQ(refusal("a.csv", "q,\n"), "cannot read a.csv:1: column 2 has no name");
  EXPECT_EQ(refusal("a.csv", "q\nfine\nbad \xFF\n"), "cannot read a.csv:3: invalid UTF-8 at byte 11");
}

TEST_F(Datasets, JsonlRowsCarryTheirLine) {
  const Dataset data = read("a.jsonl", "\xEF\xBB\xBF{\"q\": \"one\"}\r\n\"bare\"\r\n{\"t\": 2, \"q\": \"three\"}");
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.columns, (std::vector<std::string>{"q", "text", "t"}));
  EXPECT_EQ(data.text(data.rows[0], "q"), "one");
  EXPECT_EQ(data.text(data.rows[1], "text"), "bare");
  EXPECT_EQ(data.rows[2].line, 3);
}

TEST_F(Datasets, JsonlErrorsNameTheLine) {
  const std::string broken = refusal("a.jsonl", "{\"q\": \"one\"}\n{\"q\": }\n");
  EXPECT_TRUE(broken.starts_with("cannot read a.jsonl:2:7: not valid JSON")) << broken;
  EXPECT_EQ(refusal("a.jsonl", "{\"q\": 1}\n\n{\"q\": 2}\n"), "cannot read a.jsonl:2: empty line");
  EXPECT_EQ(refusal("a.jsonl", "{}\n[1]\n"), "cannot read a.jsonl:2: a row must be an object or a string, not array");
  EXPECT_EQ(refusal("a.jsonl", "{}\n{\"q\": 1, \"q\": 2}\n"), "cannot read a.jsonl:2: duplicate key 'q'");
  EXPECT_EQ(refusal("a.jsonl", "{}\n{\"q\": \"\xC3\"}\n"), "cannot read a.jsonl:2: invalid UTF-8 at byte 10");
}

TEST_F(Datasets, JsonlMayEndWithOneEmptyLine) {
  EXPECT_EQ(read("a.jsonl", "{}\n{}\n\n").rows.size(), 2u);
  EXPECT_EQ(read("a.jsonl", "").rows.size(), 0u);
}

TEST_F(Datasets, JsonArraysOfObjectsOrStrings) {
  const Dataset data = read("a.json", R"([{"q": "one"}, "two"])");
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_EQ(data.text(data.rows[1], "text"), "two");
  EXPECT_EQ(short_place(data, 1), "a.json: row 2");
  EXPECT_EQ(refusal("a.json", "[1]"), "cannot read a.json: row 1: a row must be an object or a string, not number");
  EXPECT_EQ(refusal("a.json", "3"), "cannot read a.json: want an array of rows or an object of categories, not number");
}

TEST_F(Datasets, JsonCategoriesBecomeFields) {
  const Dataset data = read("a.json", R"({"fire": ["q1", {"question": "q2", "id": "x"}], "water": {"deep": ["q3"]}})");
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.columns, (std::vector<std::string>{"category", "question", "id", "subcategory"}));
  EXPECT_EQ(data.text(data.rows[0], "category"), "fire");
  EXPECT_EQ(data.text(data.rows[1], "question"), "q2");
  EXPECT_EQ(data.text(data.rows[2], "category"), "water");
  EXPECT_EQ(data.text(data.rows[2], "subcategory"), "deep");
  EXPECT_EQ(data.text(data.rows[2], "question"), "q3");
  EXPECT_EQ(refusal("a.json", R"({"a": 1})"),
            "cannot read a.json: /a must be a list of questions or an object of them, not number");
  EXPECT_EQ(refusal("a.json", R"({"a": {"b": {"c": []}}})"),
            "cannot read a.json: /a/b must be a list of questions, not object");
  EXPECT_EQ(refusal("a.json", R"({"a": ["x", 2]})"),
            "cannot read a.json: /a/1 must be a string or an object, not number");
}

TEST_F(Datasets, ColumnErrorsSayWhatThereIs) {
  const Dataset data = read("a.csv", "Question,Topic\nx,y\n");
  const std::string where = data.origin;
  EXPECT_EQ(message_of(Code::kData, [&] { data.text(data.rows[0], "Qestion"); }),
            "no column 'Qestion' in " + where + ":2: available are Question, Topic; did you mean 'Question'?");
  EXPECT_EQ(message_of(Code::kData, [&] { data.text(data.rows[0], "prompt"); }),
            "no column 'prompt' in " + where + ":2: available are Question, Topic");
  const Dataset numbers = read("a.jsonl", "{\"q\": 3}\n{\"p\": \"\"}");
  EXPECT_EQ(message_of(Code::kData, [&] { numbers.text(numbers.rows[0], "q"); }),
            "column 'q' of " + numbers.origin + ":1 is no text but number: 3");
  EXPECT_EQ(message_of(Code::kData, [&] { numbers.text(numbers.rows[1], "q"); }),
            "no column 'q' in " + numbers.origin + ":2: available are q, p");
}

TEST_F(Datasets, FilesMustExistAndBeKnown) {
  EXPECT_EQ(message_of(Code::kData, [&] { read_dataset(folder_ / "none.csv"); }),
            "cannot find data set " + (folder_ / "none.csv").string() + ": no such file or folder");
  EXPECT_EQ(refusal("a.tsv", "x"), "cannot read a.tsv: unknown extension '.tsv', want .csv, .jsonl or .json");
}

}  // namespace
}  // namespace suture::text
