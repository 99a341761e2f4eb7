// SPDX-License-Identifier: Apache-2.0
#include "core/progress.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>

#include "core/error.h"

namespace suture {
namespace {

std::atomic<bool> interrupted{false};
std::atomic<bool> visible{true};

std::string clock_text(double seconds) {
  const auto s = int64_t(seconds + 0.5);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

void catch_interrupts() {
  // A second signal ends the process at once: nothing of ours is ever half-written under its final name.
  const auto handler = [](int) {
    if (interrupted.exchange(true)) ::_exit(int(Code::kInterrupted));
  };
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
}

void throw_if_interrupted() {
  if (interrupted) fail(Code::kInterrupted, "interrupted; run the same command again to go on");
}

void set_progress_visible(bool on) { visible = on; }

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (visible && shown_) draw(true);
}

void Progress::advance(int64_t by) {
  throw_if_interrupted();
  done_ += by;
  const auto now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (!visible || now - drawn_ < pause) return;
  drawn_ = now;
  draw(false);
}

void Progress::draw(bool last) {
  shown_ = true;
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = elapsed > 0 ? double(done_) / elapsed : 0;
  const double left = rate > 0 ? double(total_ - done_) / rate : 0;
  const std::string tail = fmt::format("{}/{} {} {:.3g}/s {} {}", done_, total_, unit_, rate,
                                       last ? "in " + clock_text(elapsed) : "eta " + clock_text(left), note_);
  if (!terminal_) {
    fmt::print(stderr, "{}: {}\n", what_, tail);
    return;
  }
  const int width = 24;
  const int full = total_ > 0 ? int(width * std::min(done_, total_) / total_) : 0;
  fmt::print(stderr, "\r\x1b[K{} [{}{}] {}{}", what_, std::string(size_t(full), '#'),
             std::string(size_t(width - full), '-'), tail, last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace suture
