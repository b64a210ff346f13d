// The progress line on stderr: share, bytes, rate, time left. Only on a terminal, at most ten times
// a second.
#pragma once

#include <chrono>
#include <string>

#include "hieron/cli/command.h"
#include "hieron/walk/walk.h"

namespace hieron {

// "reading  42 %  1.3 of 3.1 GB  0.9 GB/s  2 s left". Pure; `seconds` since the start.
std::string progress_line(const std::string& label, const Progress& progress, double seconds);

// Shows nothing if stderr is no terminal or --quiet was given. Clears its line when destroyed.
// update() is for one thread at a time, as walk() promises.
class ProgressBar {
 public:
  ProgressBar(const CommonOptions& options, std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void update(const Progress& progress);

 private:
  std::string label_;
  bool visible_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

// The walk's options as the command line gives them: threads, memory, Ctrl-C, and this bar.
WalkOptions walk_options(const Context& context, ProgressBar& bar);

}  // namespace hieron
