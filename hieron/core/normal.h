// The inverse of the normal distribution function, with the same bits on every machine.
//
// Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution", PPND16:
// rational functions of p or, beyond |p − 1/2| > 0.425, of √(−log min(p, 1 − p)); relative error
// about 1e-16. The logarithm is elementary.h's.
#pragma once

#include <cstdint>

#include "hieron/core/prf.h"

namespace hieron {

double normal_quantile(double p);  // 0 < p < 1; else NaN

// A standard normal number for each counter, from 52 of its bits.
double normal(const Prf& prf, uint64_t counter);

}  // namespace hieron
