// SPDX-License-Identifier: Apache-2.0
#include "audit/journal.h"

namespace suture::audit {
namespace {

constexpr int kVersion = 1;

std::string line_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

Journal::Journal(fs::path path, const std::string& kind, const std::string& digest, bool start_over)
    : path_(std::move(path)) {
  if (start_over) fs::remove(path_);
  std::string text = fs::exists(path_) ? read_text(path_) : "";
  const size_t whole = text.find_last_of('\n') == text.npos ? 0 : text.find_last_of('\n') + 1;
  if (whole < text.size()) {
    text.resize(whole);
    fs::resize_file(path_, whole);
    dropped_tail_ = true;
  }
  if (!text.empty()) read(text, kind, digest);
  resumed_ = static_cast<int64_t>(rows_.size());
  file_ = std::make_unique<LineAppender>(path_);
  if (text.empty()) {
    file_->append(line_of({{"journal", kind}, {"version", kVersion}, {"digest", digest}}));
    file_->sync();
  }
}

void Journal::read(const std::string& text, const std::string& kind, const std::string& digest) {
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string place = fmt::format("{}:{}", path_.string(), ++line);
    Json json = parse_json(std::string_view(text).substr(at, end - at), place);
    at = end + 1;
    if (line > 1) {
      keep(std::move(json), place);
      continue;
    }
    if (!json.is_object() || json.value("journal", "") != kind || json.value("version", 0) != kVersion) {
      fail(Code::kData, "cannot resume {}: not a version {} journal of {}", path_.string(), kVersion, kind);
    }
    const std::string before = json.value("digest", "");
    if (before != digest) {
      fail(Code::kConfig, "cannot resume {}: config changed (digest {} → {}); use another --out or --force",
           path_.string(), before.substr(0, 12), digest.substr(0, 12));
    }
  }
}

void Journal::keep(Json row, const std::string& place) {
  if (!row.is_object() || !row.contains("id") || !row["id"].is_string())
    fail(Code::kData, "cannot read {}: row without a string \"id\"", place);
  const auto id = row["id"].get<std::string>();
  if (!index_.emplace(id, rows_.size()).second) fail(Code::kData, "cannot read {}: id \"{}\" appears twice", place, id);
  rows_.push_back(std::move(row));
}

const Json& Journal::row(const std::string& id) const {
  const auto found = index_.find(id);
  if (found == index_.end()) fail(Code::kBug, "journal {} has no row \"{}\"", path_.string(), id);
  return rows_[found->second];
}

void Journal::append(Json row) {
  if (!row.is_object() || !row.contains("id") || !row["id"].is_string())
    fail(Code::kBug, "journal row without a string \"id\"");
  if (done(row["id"].get<std::string>()))
    fail(Code::kBug, "journal row \"{}\" is there already", row["id"].get<std::string>());
  const std::string line = line_of(row);
  file_->append(line);
  keep(Json::parse(line), path_.string());
}

}  // namespace suture::audit
