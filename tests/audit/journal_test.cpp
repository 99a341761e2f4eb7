// SPDX-License-Identifier: Apache-2.0
#include "audit/journal.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace suture::audit {
namespace {

using testing::HasSubstr;

fs::path fresh(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / "suture-journal" / name;
  fs::remove(path);
  return path;
}

Error error_of(const fs::path& path, const std::string& digest) {
  try {
    Journal(path, "audit", digest);
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::kDone, "no error");
}

void append_raw(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

TEST(Journal, GoesOnWhereItStopped) {
  const fs::path path = fresh("resume.jsonl");
  {
    Journal journal(path, "audit", "aa");
    journal.append({{"id", "1"}, {"text", "line\nbreak ü"}});
    EXPECT_EQ(journal.resumed(), 0);
  }
  Journal journal(path, "audit", "aa");
  EXPECT_EQ(journal.resumed(), 1);
  EXPECT_TRUE(journal.done("1"));
  EXPECT_FALSE(journal.done("2"));
  EXPECT_EQ(journal.row("1").at("text"), "line\nbreak ü");
}

TEST(Journal, CutsOffAHalfWrittenLine) {
  const fs::path path = fresh("tail.jsonl");
  Journal(path, "audit", "aa").append({{"id", "1"}});
  const auto size = fs::file_size(path);
  append_raw(path, R"({"id": "2", "te)");
  {
    Journal journal(path, "audit", "aa");
    EXPECT_TRUE(journal.dropped_tail());
    EXPECT_FALSE(journal.done("2"));
    EXPECT_EQ(fs::file_size(path), size);
    journal.append({{"id", "2"}});
  }
  EXPECT_EQ(Journal(path, "audit", "aa").rows().size(), 2u);
}

TEST(Journal, StartsAgainWhenEvenTheFirstLineIsHalf) {
  const fs::path path = fresh("head.jsonl");
  fs::create_directories(path.parent_path());
  append_raw(path, R"({"journal": "au)");
  Journal(path, "audit", "aa").append({{"id", "1"}});
  EXPECT_TRUE(Journal(path, "audit", "aa").done("1"));
}

TEST(Journal, RefusesAnotherConfig) {
  const fs::path path = fresh("config.jsonl");
  Journal(path, "audit", "aaaaaaaaaaaaaaaa").append({{"id", "1"}});
  const Error error = error_of(path, "bbbbbbbbbbbbbbbb");
  EXPECT_EQ(error.code(), Code::kConfig);
  EXPECT_EQ(
      error.what(),
      fmt::format("cannot resume {}: config changed (digest aaaaaaaaaaaa → bbbbbbbbbbbb); use another --out or --force",
                  path.string()));
  EXPECT_TRUE(Journal(path, "audit", "bbbbbbbbbbbbbbbb", true).rows().empty());
}

TEST(Journal, RefusesRepeatedIdsAndBrokenLines) {
  const fs::path path = fresh("twice.jsonl");
  Journal(path, "audit", "aa").append({{"id", "1"}});
  append_raw(path, "{\"id\":\"1\"}\n");
  EXPECT_EQ(error_of(path, "aa").code(), Code::kData);
  EXPECT_THAT(error_of(path, "aa").what(), HasSubstr("twice.jsonl:3: id \"1\" appears twice"));
  const fs::path broken = fresh("broken.jsonl");
  Journal(broken, "audit", "aa").append({{"id", "1"}});
  append_raw(broken, "{\"id\":\n{\"id\":\"2\"}\n");
  EXPECT_EQ(error_of(broken, "aa").code(), Code::kData);
  const fs::path other = fresh("other.jsonl");
  append_raw(other, "{\"a\":1}\n");
  EXPECT_THAT(error_of(other, "aa").what(), HasSubstr("not a version 1 journal of audit"));
}

TEST(Journal, RefusesToRepeatARow) {
  Journal journal(fresh("repeat.jsonl"), "audit", "aa");
  journal.append({{"id", "1"}});
  EXPECT_THROW(journal.append({{"id", "1"}}), Error);
  EXPECT_THROW(journal.append({{"name", "1"}}), Error);
}

// A child writes rows until it is killed in the middle of its work; every row that it reported as written is there,
// once.
TEST(Journal, LosesNothingWhenTheProcessIsKilled) {
  const fs::path path = fresh("killed.jsonl");
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Journal journal(path, "audit", "aa");
    for (int i = 0;; ++i) {
      journal.append({{"id", std::to_string(i)}, {"text", std::string(2000, 'x')}});
      if (write(pipe_ends[1], &i, sizeof i) != sizeof i) _exit(1);
    }
  }
  close(pipe_ends[1]);
  int last = -1, reported = 0;
  while (reported < 200 && read(pipe_ends[0], &last, sizeof last) == sizeof last) ++reported;
  kill(child, SIGKILL);
  while (read(pipe_ends[0], &last, sizeof last) == sizeof last) ++reported;
  close(pipe_ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_GE(reported, 200);
  Journal journal(path, "audit", "aa");
  for (int i = 0; i <= last; ++i) EXPECT_TRUE(journal.done(std::to_string(i))) << i;
  const size_t rows = journal.rows().size();
  journal.append({{"id", std::to_string(rows)}});
  EXPECT_EQ(Journal(path, "audit", "aa").rows().size(), rows + 1);
}

}  // namespace
}  // namespace suture::audit
