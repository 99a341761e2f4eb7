// SPDX-License-Identifier: Apache-2.0
#include "core/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "temp_folder.h"

namespace suture {
namespace {

using test::TempFolder;

Error error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  return {Code::kDone, "no error"};
}

// Runs `act` in a child that is killed without any clean-up right after it.
void die_after(const std::function<void()>& act) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    act();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(AtomicFile, AppearsOnCommitOnly) {
  const TempFolder folder;
  {
    AtomicFile file(folder / "deep" / "x");
    file.write("one ");
    file.write("two");
    EXPECT_FALSE(fs::exists(folder / "deep" / "x"));
    file.commit();
  }
  EXPECT_EQ(read_text(folder / "deep" / "x"), "one two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "deep"), fs::directory_iterator()), 1);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TempFolder folder;
  write_atomically(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write("new");
  }
  EXPECT_EQ(read_text(folder / "x"), "old");
  EXPECT_EQ(folder.entries(), 1U);
}

TEST(AtomicFile, AKilledWriterLeavesTheOldFile) {
  const TempFolder folder;
  write_atomically(folder / "x", "old");
  die_after([&] {
    auto* file = new AtomicFile(folder / "x");  // never destroyed: the process dies
    file->write(std::string(1 << 20, 'n'));
  });
  EXPECT_EQ(read_text(folder / "x"), "old");
  write_atomically(folder / "x", "newer");
  EXPECT_EQ(read_text(folder / "x"), "newer");
}

TEST(AtomicFile, ALibraryMayWriteByPath) {
  const TempFolder folder;
  AtomicFile file(folder / "x");
  file.close();
  std::FILE* other = std::fopen(file.temporary().c_str(), "wb");
  ASSERT_NE(other, nullptr);
  std::fputs("by path", other);
  std::fclose(other);
  file.commit();
  EXPECT_EQ(read_text(folder / "x"), "by path");
}

TEST(AtomicFile, NamesTheTargetWhenItCannotWrite) {
  const TempFolder folder;
  write_atomically(folder / "file", "x");
  const Error error = error_of([&] { AtomicFile(folder / "file" / "below"); });
  EXPECT_EQ(error.code(), Code::kResource);
  EXPECT_THAT(error.what(), testing::HasSubstr((folder / "file").string()));
}

TEST(AtomicFolder, AppearsOnCommitOnly) {
  const TempFolder folder;
  {
    AtomicFolder out(folder / "out/", false);  // a trailing slash is no other folder
    write_atomically(out.path() / "sub" / "a", "1");
    EXPECT_FALSE(fs::exists(folder / "out"));
    out.commit();
  }
  EXPECT_EQ(read_text(folder / "out" / "sub" / "a"), "1");
  EXPECT_EQ(folder.entries(), 1U);
}

TEST(AtomicFolder, RefusesAnExistingTarget) {
  const TempFolder folder;
  fs::create_directory(folder / "out");
  const Error error = error_of([&] { AtomicFolder(folder / "out", false); });
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_EQ(std::string(error.what()),
            "cannot write " + (folder / "out").string() + ": it exists; choose another --out or pass --force");
}

TEST(AtomicFolder, ReplacesAsAWholeOnCommitOnly) {
  const TempFolder folder;
  write_atomically(folder / "out" / "old", "1");
  {
    AtomicFolder out(folder / "out", true);
    write_atomically(out.path() / "new", "2");
  }
  EXPECT_TRUE(fs::exists(folder / "out" / "old"));
  AtomicFolder out(folder / "out", true);
  write_atomically(out.path() / "new", "2");
  out.commit();
  EXPECT_FALSE(fs::exists(folder / "out" / "old"));
  EXPECT_EQ(read_text(folder / "out" / "new"), "2");
  EXPECT_EQ(folder.entries(), 1U);
}

TEST(AtomicFolder, AKilledWriterLeavesTheOldFolderAndTheNextRunWorks) {
  const TempFolder folder;
  write_atomically(folder / "out" / "old", "1");
  die_after([&] {
    auto* out = new AtomicFolder(folder / "out", true);
    write_atomically(out->path() / "half", "2");
  });
  EXPECT_EQ(read_text(folder / "out" / "old"), "1");
  EXPECT_FALSE(fs::exists(folder / "out" / "half"));
  AtomicFolder out(folder / "out", true);
  out.commit();
  EXPECT_TRUE(fs::is_empty(folder / "out"));
}

TEST(LineAppender, AppendsAcrossOpeningsAndSurvivesAKill) {
  const TempFolder folder;
  die_after([&] {
    auto* lines = new LineAppender(folder / "x.jsonl");
    lines->append("first");
    lines->append("second");
  });
  LineAppender(folder / "x.jsonl").append("third");
  EXPECT_EQ(read_text(folder / "x.jsonl"), "first\nsecond\nthird\n");
}

TEST(MappedFile, ShowsTheBytes) {
  const TempFolder folder;
  write_atomically(folder / "x", "abc");
  const MappedFile file(folder / "x");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()), "abc");
  write_atomically(folder / "empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TempFolder folder;
  EXPECT_EQ(error_of([&] { MappedFile(folder / "none"); }).code(), Code::kFile);
  const Error error = error_of([&] { MappedFile(folder.path()); });
  EXPECT_EQ(error.code(), Code::kFile);
  EXPECT_THAT(error.what(), testing::StartsWith("cannot read " + folder.path().string() + ": "));
}

TEST(ReadText, NamesTheReason) {
  const TempFolder folder;
  EXPECT_EQ(std::string(error_of([&] { read_text(folder / "none"); }).what()),
            "cannot read " + (folder / "none").string() + ": No such file or directory");
  EXPECT_EQ(std::string(error_of([&] { read_text(folder.path(), Code::kConfig); }).what()),
            "cannot read " + folder.path().string() + ": it is a folder");
}

TEST(LinkOrCopy, GivesTheSameContentAndFollowsLinks) {
  const TempFolder folder;
  write_atomically(folder / "blob", "weights");
  fs::create_symlink("blob", folder / "link");
  link_or_copy(folder / "link", folder / "out");
  EXPECT_FALSE(fs::is_symlink(folder / "out"));
  EXPECT_EQ(read_text(folder / "out"), "weights");
}

}  // namespace
}  // namespace suture
