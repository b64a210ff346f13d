// What changed between two checkpoints: per tensor, how many elements, and by how much.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/roles.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct TensorDifference {
  std::string name;
  TensorRole role;
  Shape shape;
  std::string dtype_a, dtype_b;
  uint64_t elements = 0;
  uint64_t equal = 0;         // same value (across dtypes: the same real number)
  double norm_a = 0;          // square root of Σ a²
  double norm_change = 0;     // square root of Σ (b − a)²
  double largest_change = 0;  // max |b − a|; NaN and infinities excluded here and above
  uint64_t not_finite = 0;    // elements that are NaN or infinite on either side

  double relative_change() const { return norm_a > 0 ? norm_change / norm_a : 0; }
};

struct CheckpointDifference {
  std::vector<TensorDifference> tensors;  // in a's file order
  std::vector<Skipped> ledger;            // model 0 is a, 1 is b
  uint64_t elements = 0, equal = 0;
  uint64_t bytes_read = 0;
  bool identical() const { return ledger.empty() && equal == elements; }
};

// Reads both sides once. The figures do not depend on threads, memory or sharding: sums run over
// fixed leaves.
Result<CheckpointDifference> diff(const Checkpoint& a, const Checkpoint& b,
                                  const WalkOptions& options);

}  // namespace hieron
