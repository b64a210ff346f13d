// Which elements of a row are read: all of them, or runs drawn by a PRF of (seed, tensor name,
// shape), so that the same elements are read in every model and by everybody who has the seed.
#pragma once

#include <cstdint>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/walk/alignment.h"

namespace hieron {

struct Run {
  uint64_t first, count;  // elements
  friend bool operator==(const Run&, const Run&) = default;
};

class Selection {
 public:
  static Selection everything() { return {}; }
  // About `bytes_per_tensor` of each row, counted in the leading model's storage: at most
  // `kRunsPerTensor` disjoint runs of at least `min_run_bytes`, whole if the tensor is no larger.
  static Selection sample(const Seed& seed, uint64_t bytes_per_tensor);

  bool whole() const { return bytes_per_tensor_ == 0; }
  std::vector<Run> runs(const Row& row) const;  // ascending, disjoint

  static constexpr uint64_t kMinRunBytes = 4096;
  static constexpr uint64_t kRunsPerTensor = 8;

 private:
  Seed seed_;
  uint64_t bytes_per_tensor_ = 0;
};

}  // namespace hieron
