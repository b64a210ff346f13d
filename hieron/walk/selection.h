// Which elements of a row are read: all of them, or runs drawn by a PRF of (seed, tensor name,
// shape), so that the same elements are read in every model and by everybody who has the seed. Of
// tensors that are known in part only (fingerprints), what all models of the row know.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/walk/alignment.h"

namespace hieron {

struct SampleSize {
  uint64_t bytes_per_tensor = 0;  // counted in the leading model's storage
  uint64_t run_bytes = 4096;  // of one stretch; at most kRunsPerTensor of them, longer if need be
  std::shared_ptr<const std::set<std::string>> tensors{};  // names of rows; null: all
  // What says nothing unless a tensor is read whole reads tensors of up to so many bytes.
  uint64_t whole_bytes = UINT64_MAX;
};

class Selection {
 public:
  static Selection everything() { return {}; }
  // About `bytes_per_tensor` of each row: disjoint runs, the whole tensor if it is no larger.
  static Selection sample(const Seed& seed, SampleSize size);

  // The same runs, each cut short, so that a row has about so many bytes: nothing else is read for
  // it.
  Selection at_most(uint64_t bytes_per_tensor) const;

  bool whole() const { return size_.bytes_per_tensor == 0; }
  uint64_t whole_bytes() const { return size_.whole_bytes; }
  std::vector<Run> runs(const Row& row) const;  // ascending, disjoint; may be empty

  static constexpr uint64_t kMinRunBytes = 4096;
  static constexpr uint64_t kRunsPerTensor = 8;

 private:
  std::vector<Run> drawn(const Row& row) const;

  Seed seed_;
  SampleSize size_;
  uint64_t at_most_ = UINT64_MAX;
};

}  // namespace hieron
