#include "hieron/walk/selection.h"

#include <algorithm>

namespace hieron {

Selection Selection::sample(const Seed& seed, uint64_t bytes_per_tensor) {
  Selection selection;
  selection.seed_ = seed;
  selection.bytes_per_tensor_ = std::max(bytes_per_tensor, kMinRunBytes);
  return selection;
}

std::vector<Run> Selection::runs(const Row& row) const {
  if (whole()) return {{0, row.elements}};
  const uint64_t bits = static_cast<uint64_t>(info(row.views[0]->tensor->dtype).bits);
  const uint64_t budget = bytes_per_tensor_ * 8 / bits;
  if (row.elements <= budget) return {{0, row.elements}};
  // The tensor is cut into as many equal strata as there are runs; each run lies at a random place
  // of its own stratum, on a border of 4 KiB where it can: disjoint and ascending without a second
  // draw.
  const uint64_t min_run = std::max<uint64_t>(1, kMinRunBytes * 8 / bits);
  const uint64_t count = std::clamp<uint64_t>(budget / min_run, 1, kRunsPerTensor);
  const uint64_t length = budget / count;
  const Prf prf(seed_, row.name + '\0' + to_string(row.shape));
  std::vector<Run> runs;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t begin = row.elements / count * i;
    const uint64_t end = i + 1 == count ? row.elements : row.elements / count * (i + 1);
    const uint64_t room = end - begin - length;
    uint64_t first = begin + prf.below(i, room + 1);
    const uint64_t aligned = first / min_run * min_run;
    if (aligned >= begin) first = aligned;
    runs.push_back({first, length});
  }
  return runs;
}

}  // namespace hieron
