#include "hieron/cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "hieron/core/text.h"

namespace hieron {

namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);

std::string show_seconds(double seconds) {
  const auto s = static_cast<uint64_t>(std::llround(seconds));
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", (s + 30) / 60);
  return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

}  // namespace

std::string progress_line(const std::string& label, const Progress& progress, double seconds) {
  const auto done = static_cast<double>(progress.bytes_done);
  const auto total = static_cast<double>(std::max(progress.bytes_total, progress.bytes_done));
  std::string line = fmt::format("{} {:3.0f} %  {} of {}", label,
                                 total > 0 ? std::floor(100 * done / total) : 100.0,
                                 show_bytes(progress.bytes_done), show_bytes(progress.bytes_total));
  if (seconds < 0.5 || done == 0) {
    return line;  // too early for a rate
  }
  const double rate = done / seconds;
  line += fmt::format("  {}/s  {} left", show_bytes(static_cast<uint64_t>(rate)),
                      show_seconds((total - done) / rate));
  return line;
}

ProgressBar::ProgressBar(const CommonOptions& options, std::string label)
    : label_(std::move(label)),
      visible_(!options.quiet && isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()),
      last_(start_ - kRedraw) {}

ProgressBar::~ProgressBar() {
  if (drawn_) {
    fmt::print(stderr, "\r\x1b[K");
  }
}

void ProgressBar::update(const Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || now - last_ < kRedraw) {
    return;
  }
  last_ = now;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  fmt::print(stderr, "\r\x1b[K{}", progress_line(label_, progress, seconds));
  std::fflush(stderr);
}

WalkOptions walk_options(const Context& context, ProgressBar& bar) {
  return {.threads = context.options.threads,
          .memory = context.options.memory,
          .cancel = context.cancel,
          .progress = [&bar](const Progress& progress) { bar.update(progress); }};
}

}  // namespace hieron
