// What a merge will cost, before a weight is read: bytes from the plan, computing time from trials
// of the real code on small made-up tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hieron/core/error.h"
#include "hieron/merge/plan.h"

namespace hieron {

struct Preflight {
  uint64_t bytes_read = 0;     // of inputs, once for each tensor that is made
  uint64_t bytes_passed = 0;   // the same with every pass that a method takes
  uint64_t bytes_written = 0;  // shards
  uint64_t bytes_held = 0;     // beside the buffers: the most that one tensor needs
  std::string held_by;         // that tensor; empty if none needs anything
  // With so many threads on this machine, if the disk were no limit; nothing if a trial failed.
  std::optional<double> compute_seconds;
  // Why, a sentence; the tensors of that trial count with one pass and nothing held.
  std::string not_estimated;
};

// `threads`: 0 for as many as there are cores. Takes some milliseconds for each kind of tensor
// (method, dtypes, inputs), a few tens under a replay.
Preflight preflight(const Plan& plan, unsigned threads);

// Refused if a tensor needs more memory than the machine has free.
Status check_memory(const Preflight& needs);

}  // namespace hieron
