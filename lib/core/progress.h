// SPDX-License-Identifier: Apache-2.0
// Progress of long work on stderr: a bar with rate and time left on a terminal, a plain line every few seconds
// elsewhere. Also where long work notices an interrupt: advance() throws Error(kInterrupted) after SIGINT or SIGTERM.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace suture {

void catch_interrupts();  // installs the signal handlers; call once from main
void throw_if_interrupted();
void set_progress_visible(bool);  // off under --quiet; on by default

class Progress {
 public:
  Progress(std::string what, int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(int64_t by = 1);
  void note(std::string text) { note_ = std::move(text); }  // shown behind the bar: a loss, a label

 private:
  void draw(bool last);
  using Clock = std::chrono::steady_clock;
  std::string what_, unit_, note_;
  int64_t total_, done_ = 0;
  Clock::time_point start_ = Clock::now(), drawn_ = start_;
  bool terminal_, shown_ = false;
};

// Seconds since construction.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace suture
