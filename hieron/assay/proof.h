// The proof: one streaming pass that recomputes every selected element under a fixed recipe and
// compares bits.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "hieron/kernels/arithmetic.h"
#include "hieron/walk/walk.h"

namespace hieron {

// What one row must equal, if the recipe holds.
struct RowClaim {
  // A blend of operands (indices of models) under the arithmetic; one operand with weight 1 is a
  // copy.
  std::vector<size_t> operands;
  Combination combination;
  Arithmetic arithmetic = Arithmetic::kExact;
  bool raw =
      false;  // compare stored bits with the single operand's, without arithmetic (any dtype)
  bool reverse =
      false;  // round the suspect to how the single operand stores it, and compare with that
  DType true_dtype = DType::kF32;  // of the suspect: the result is rounded to this, then widened to
                                   // how it is stored
  bool single_rounding = true;  // a miss within the slack of the arithmetic is a tie, not a change
};

struct RowProof {
  uint64_t read = 0, equal = 0;
  uint64_t informative = 0,
           informative_equal = 0;  // elements where the operands differ from one another
  uint64_t changed = 0;            // misses that the slack of the arithmetic does not explain
  uint64_t not_finite = 0;         // NaN or infinite in the suspect
  uint64_t first_miss = ~uint64_t{0}, first_change = ~uint64_t{0};
};

// claims[i] belongs to rows[i]; rows without a claim are not read. One RowProof a row.
struct Proof {
  std::vector<RowProof> rows;
  uint64_t bytes_read = 0;
};
Result<Proof> prove(const Alignment& alignment, std::span<const std::optional<RowClaim>> claims,
                    const Selection& selection, const WalkOptions& options);

}  // namespace hieron
