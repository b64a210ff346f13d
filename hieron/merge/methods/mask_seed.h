// The seed behind random masks, from the bits that are seen of them. docs/recovery.md §8.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/methods/mask_reading.h"

namespace hieron {

// Finds the seed, and with it what the labels alone leave open: the masks' densities, and by what
// each parent's changes were rescaled. `reading`: of random or ranked masks, without a seed.
//
// hieron's own masks: seeds below 2^16 and those that many choose; torch's: as evidence.seeds says.
void find_seed(const Evidence& evidence, MaskReading& reading);

}  // namespace hieron
