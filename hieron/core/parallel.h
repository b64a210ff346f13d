// Independent pieces of work on several threads. The pieces must not depend on who runs them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace hieron {

// Calls work(i) for each i < n, on up to `threads` threads (0: as many as there are cores).
template <class Work>
void parallel_for(size_t n, unsigned threads, const Work& work) {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i = next++; i < n; i = next++) work(i);
  };
  std::vector<std::jthread> others;
  for (unsigned t = 1; t < std::min<size_t>(threads, n); ++t) others.emplace_back(run);
  run();
}

}  // namespace hieron
