// What was changed after the merge: how much, and where. docs/assay.md §7.
#pragma once

#include <span>

#include "hieron/assay/proof.h"
#include "hieron/assay/result.h"

namespace hieron {

// Clopper–Pearson upper bound at 95 % (one-sided) of a rate of which `hits` of `trials` were seen.
double upper_rate_95(uint64_t hits, uint64_t trials);

// From the proof's rows. For changes much smaller than one ulp the miss rate is E|eps|/ulp, so the
// upper bound of the rate bounds the mean update in ulps.
AfterMerge after_merge(const Alignment& alignment, const RoleTable& roles,
                       std::span<const RowProof> rows);

}  // namespace hieron
