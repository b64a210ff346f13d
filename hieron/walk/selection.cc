#include "hieron/walk/selection.h"

#include <algorithm>

namespace hieron {
namespace {

std::vector<Run> intersection(const std::vector<Run>& a, const std::vector<Run>& b) {
  std::vector<Run> both;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uint64_t end_a = a[i].first + a[i].count, end_b = b[j].first + b[j].count;
    const uint64_t first = std::max(a[i].first, b[j].first), end = std::min(end_a, end_b);
    if (first < end) both.push_back({first, end - first});
    end_a < end_b ? ++i : ++j;
  }
  return both;
}

// The elements of a row that a view knows; the runs are counted from the row's first element.
std::vector<Run> known_of(const Row& row, const TensorView& view) {
  std::vector<Run> known;
  const uint64_t begin = view.first, end = view.first + row.elements;
  for (const Run& run : *view.tensor->known) {
    const uint64_t first = std::max(run.first, begin);
    const uint64_t last = std::min(run.first + run.count, end);
    if (first < last) known.push_back({first - begin, last - first});
  }
  return known;
}

}  // namespace

Selection Selection::sample(const Seed& seed, SampleSize size) {
  Selection selection;
  selection.seed_ = seed;
  selection.size_ = std::move(size);
  selection.size_.run_bytes = std::max(selection.size_.run_bytes, kMinRunBytes);
  selection.size_.bytes_per_tensor =
      std::max(selection.size_.bytes_per_tensor, selection.size_.run_bytes);
  return selection;
}

Selection Selection::at_most(uint64_t bytes_per_tensor) const {
  Selection shorter = *this;
  shorter.at_most_ = std::max<uint64_t>(1, bytes_per_tensor);
  return shorter;
}

std::vector<Run> Selection::runs(const Row& row) const {
  std::vector<Run> runs;
  bool all = true;
  for (const auto& view : row.views) {
    if (!view || !view->tensor->known) continue;
    runs = all ? known_of(row, *view) : intersection(runs, known_of(row, *view));
    all = false;
  }
  if (all) runs = drawn(row);
  if (at_most_ == UINT64_MAX || runs.empty()) return runs;
  const auto bits = static_cast<uint64_t>(info(row.views[0]->tensor->dtype).bits);
  const uint64_t each = std::max<uint64_t>(1, at_most_ * 8 / bits / runs.size());
  for (Run& run : runs) run.count = std::min(run.count, each);
  return runs;
}

std::vector<Run> Selection::drawn(const Row& row) const {
  if (whole()) return {{0, row.elements}};
  if (size_.tensors && !size_.tensors->contains(row.name)) return {};
  const uint64_t bits = static_cast<uint64_t>(info(row.views[0]->tensor->dtype).bits);
  const uint64_t budget = size_.bytes_per_tensor * 8 / bits;
  if (row.elements <= budget) return {{0, row.elements}};
  // The tensor is cut into as many equal strata as there are runs; each run lies at a random place
  // of its own stratum, on a border of as many bytes where it can: disjoint and ascending without a
  // second draw.
  const uint64_t min_run = std::max<uint64_t>(1, size_.run_bytes * 8 / bits);
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
