// Sets of byte ranges, and lists of ranges made fit for requests.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "hieron/io/file.h"

namespace hieron {

// Disjoint stretches; those that touch are one.
class Intervals {
 public:
  void add(Extent extent);
  void add(const Intervals& others);
  void remove(Extent extent);
  bool covers(Extent extent) const;
  bool touches(Extent extent) const;  // do they have a byte in common?
  // What of it is not in the set, ascending.
  std::vector<Extent> missing(Extent extent) const;

 private:
  std::map<uint64_t, uint64_t> ends_;  // begin -> end
};

// Neighbours with at most `gap` bytes between them become one, unless the gap has bytes of `but`;
// what is longer than `most` is cut into equal parts. `extents` are ascending.
std::vector<Extent> coalesce(std::span<const Extent> extents, uint64_t gap, uint64_t most,
                             const Intervals& but);

}  // namespace hieron
