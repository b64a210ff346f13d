// Shares of masks put right by replay: an estimate of a density is off by a hundredth where many
// changes are equal in size or lose every vote. docs/recovery.md §8.
#pragma once

#include "hieron/recover/trial.h"

namespace hieron {

// The recipe, or one that reproduces more and differs from it only in densities and the like, moved
// by steps of a hundredth.
Tried refined(const Trial& trial, const Tried& start);

}  // namespace hieron
