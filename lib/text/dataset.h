// SPDX-License-Identifier: Apache-2.0
// Data sets: .csv (RFC 4180), .jsonl (one JSON value a line), .json (an array, or questions nested in categories).
//
// Every error is an Error(kData) that names file and line. A UTF-8 byte order mark is dropped; line ends may be LF or
// CRLF; anything that is not UTF-8 is refused with the byte offset.
//
// What becomes a row
//   .csv    a record; fields are strings, named by the first record
//   .jsonl  an object; a bare string becomes {"text": string}
//   .json   an array of such objects or strings; or {category: [questions]} or {category: {subcategory: [questions]}},
//           where a question is a string (fields category, subcategory, question) or an object (its fields as well)
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"

namespace suture::text {

struct Row {
  Json fields;       // an object
  int64_t line = 0;  // where the row starts, from 1; 0 for .json, whose rows are numbered by the error texts
};

struct Dataset {
  std::string origin;                // the path as given
  std::string digest;                // SHA-256 of the file's bytes
  std::vector<std::string> columns;  // names of all fields, in order of first appearance
  std::vector<Row> rows;

  // The string in a column of one of this data set's rows. Throws Error(kData) if there is no such column (with the
  // columns there are, and the nearest name) or if it holds no string.
  std::string text(const Row& row, const std::string& column) const;
  // "file:line" (or "file: row N") of one of this data set's rows.
  std::string place(const Row& row) const;
};

Dataset read_dataset(const std::filesystem::path& path);

}  // namespace suture::text
