// SPDX-License-Identifier: Apache-2.0
// Where the text fixtures lie, and what several tests do with them.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "text/assets.h"
#include "text/tokenizer.h"

namespace suture::text {

inline fs::path fixture(const std::string& name) { return fs::path(SUTURE_SOURCE_DIR) / "tests/fixtures/text" / name; }

inline Tokenizer load_tokenizer(const std::string& name) {
  return Tokenizer::from_json(read_text(fixture(name)), name);
}

inline std::vector<Span> spans_of(const Json& pairs) {
  std::vector<Span> spans;
  for (const Json& pair : pairs) spans.push_back({pair[0].get<int64_t>(), pair[1].get<int64_t>()});
  return spans;
}

inline std::vector<int32_t> ids_of(const Json& ids) { return ids.get<std::vector<int32_t>>(); }

inline GgufVocabulary load_vocabulary(const std::string& name, const std::string& model, const std::string& pre) {
  const Json json = read_json(fixture(name));
  GgufVocabulary vocabulary;
  vocabulary.model = model;
  vocabulary.pre = pre;
  vocabulary.tokens = json["tokens"].get<std::vector<std::string>>();
  vocabulary.types = json["types"].get<std::vector<int32_t>>();
  if (json.contains("merges")) vocabulary.merges = json["merges"].get<std::vector<std::string>>();
  if (json.contains("scores")) vocabulary.scores = json["scores"].get<std::vector<float>>();
  return vocabulary;
}

// The message of the Error that `body` throws; its code must be `code`.
template <class Body>
std::string message_of(Code code, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(int(error.code()), int(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// A fresh folder below the test's temporary folder.
inline fs::path fresh_folder(const std::string& name) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path folder =
      fs::path(testing::TempDir()) / fmt::format("suture_text_{}_{}_{}", test->test_suite_name(), test->name(), name);
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

}  // namespace suture::text
