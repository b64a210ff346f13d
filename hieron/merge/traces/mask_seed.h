// The seed behind random masks, from the bits that are seen of them. docs/recovery.md §8.
#pragma once

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/mask_reading.h"

namespace hieron {

// Finds the seed, and with it what the labels alone leave open: the masks' densities, and by what
// each parent's changes were rescaled. `reading`: of random or ranked masks, without a seed. Which
// seeds are tried evidence.seeds says.
void find_seed(const Evidence& evidence, MaskReading& reading);

}  // namespace hieron
