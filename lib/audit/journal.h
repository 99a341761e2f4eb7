// SPDX-License-Identifier: Apache-2.0
// The append-only record of a run: one JSON object a line, so that a killed run goes on where it stopped.
//
//   line 1   {"journal": <kind>, "version": 1, "digest": <digest of what decides the results>}
//   others   {"id": <unique string>, ...}
//
// On opening, a half-written last line is cut off the file. A different digest is refused with Error(kConfig), a
// repeated id or an unreadable whole line with Error(kData). A row is on its way to the disk when append() returns: it
// survives the death of the process (SIGKILL), though not of the machine; sync() covers that too.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace suture::audit {

class Journal {
 public:
  // Creates the file with its folder, or reads it. `start_over` discards what is there.
  Journal(std::filesystem::path path, const std::string& kind, const std::string& digest, bool start_over = false);

  bool done(const std::string& id) const { return index_.contains(id); }
  const Json& row(const std::string& id) const;
  const std::vector<Json>& rows() const { return rows_; }  // in the order written
  int64_t resumed() const { return resumed_; }             // rows that were there on opening
  bool dropped_tail() const { return dropped_tail_; }

  void append(Json row);  // needs a string "id" that is not done yet
  void sync() { file_->sync(); }

 private:
  void read(const std::string& text, const std::string& kind, const std::string& digest);
  void keep(Json row, const std::string& place);
  std::filesystem::path path_;
  std::unique_ptr<LineAppender> file_;
  std::vector<Json> rows_;
  std::unordered_map<std::string, size_t> index_;
  int64_t resumed_ = 0;
  bool dropped_tail_ = false;
};

}  // namespace suture::audit
