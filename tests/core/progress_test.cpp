// SPDX-License-Identifier: Apache-2.0
#include "core/progress.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "core/error.h"

namespace suture {
namespace {

// Interrupts stay in force for the rest of a process, so each is raised in a child.
void interrupt_then_advance(int signal) {
  catch_interrupts();
  Progress progress("work", 10, "rows");
  progress.advance();
  std::raise(signal);
  try {
    progress.advance();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    ::_exit(int(error.code()));
  }
  ::_exit(0);
}

TEST(InterruptDeathTest, TheNextAdvanceThrows) {
  for (const int signal : {SIGINT, SIGTERM})
    EXPECT_EXIT(interrupt_then_advance(signal), testing::ExitedWithCode(130),
                "interrupted; run the same command again to go on");
}

TEST(InterruptDeathTest, ASecondSignalEndsAtOnce) {
  EXPECT_EXIT(
      {
        catch_interrupts();
        std::raise(SIGINT);
        std::raise(SIGINT);
        ::_exit(0);
      },
      testing::ExitedWithCode(130), "");
}

TEST(Progress, WritesToStderrOnlyAndNothingForShortWork) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  {
    Progress progress("work", 2, "rows");
    progress.advance();
    progress.advance();
  }
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace suture
