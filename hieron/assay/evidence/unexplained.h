// The share of the suspect's change that no blend of the two ends accounts for. Reported, never
// booked to another.
#pragma once

#include "hieron/assay/evidence/two_ends.h"
#include "hieron/assay/result.h"

namespace hieron {

// |s − blend|² beyond rounding, as a share of |s − nearer end|², over the sample; 95 % by jackknife
// over tensors.
Unexplained unexplained_share(const Sample& sample, size_t suspect, Ends ends, Varies varies,
                              const Alignment& alignment, const GroupedFit& grouped);

}  // namespace hieron
