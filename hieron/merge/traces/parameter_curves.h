// From a parameter's estimates, tensor by tensor, to values that somebody could have written: a
// number for a kind of tensor, or a list of few that runs over the layers.
//
// A recipe gives a list of n values; layer l of L has the value at l·(n−1)/(L−1), interpolated.
// Kinds (names but for their numbers) that share a filter are found one by one. Small tensors say
// too little by themselves: they get one of the values that the others of their layer have.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "hieron/merge/evidence.h"
#include "hieron/merge/hypothesis.h"
#include "hieron/merge/traces/recover_angles.h"

namespace hieron {

// How many elements of a small tensor a value reproduces.
using Agreement = std::function<uint64_t(const WholeTensor& tensor, double value)>;

// A value for every tensor of the suspect. Decimals are taken where they lie within `tolerance` of
// the estimates.
struct Curves {
  ParameterValue value;
  int digits;  // of the decimals that were taken, the most; seven where there were none
};
Curves value_by_tensor(const Evidence& evidence, std::span<const TensorEstimate> estimates,
                       double tolerance, const Agreement& agreement);

}  // namespace hieron
