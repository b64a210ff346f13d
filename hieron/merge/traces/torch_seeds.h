// The seed behind masks that torch drew for mergekit: one stream of words for all tensors, begun
// from 32 bits. docs/recovery.md §8.
#pragma once

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/mask_reading.h"

namespace hieron {

// Tries the seeds that evidence.seeds asks for. True: `reading` has the seed, and the densities
// that it settles.
bool find_torch_seed(const Evidence& evidence, MaskReading& reading);

}  // namespace hieron
