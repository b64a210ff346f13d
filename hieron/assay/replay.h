// Do these bytes equal that checkpoint? The proof behind every verdict, and behind `verify` and
// `diff`.
//
// Both sides are checkpoints; one of them is often a recipe, a merge that was never written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/core/error.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct TensorComparison {
  std::string name;
  TensorRole role;
  uint64_t elements = 0, equal = 0;          // read, and bit-equal
  uint64_t near = 0;                         // not equal, but the next number up or down
  std::optional<uint64_t> first_difference;  // element
};

struct Comparison {
  std::vector<TensorComparison>
      tensors;                  // aligned, in the suspect's file order; same name, shape and dtype
  std::vector<Skipped> ledger;  // model 0 is the suspect, 1 the other
  Replay total;                 // share_informative is not known here and equals share
  uint64_t bytes_read = 0;
  uint64_t near = 0;  // of all misses, those by one unit in the last place
};

// Every selected element of every tensor that both have. A tensor of another dtype or shape, or
// that only one side has, is in the ledger: the two are equal as wholes iff total.equal ==
// total.elements and the ledger is empty.
Result<Comparison> replay(const Checkpoint& expected, const Checkpoint& suspect,
                          const WalkOptions& options,
                          const Selection& selection = Selection::everything());

}  // namespace hieron
