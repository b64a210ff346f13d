// The seed behind masks that hieron drew: a pure function of seed, tensor, input and element.
#pragma once

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/mask_reading.h"

namespace hieron {

// Tries the seeds below 2^20 and some that people choose. True: `reading` has the seed, and the
// densities that it settles.
bool find_own_seed(const Evidence& evidence, MaskReading& reading);

}  // namespace hieron
