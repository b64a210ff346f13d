// Two weights that somebody could have written down, from where alpha lies: for a blend of two
// ends.
#pragma once

#include <vector>

#include "hieron/kernels/arithmetic.h"

namespace hieron {

// s = alpha·first + (1 − alpha)·second.
struct EndsObservation {
  double alpha, low, high;  // peak of the depth, and its hard bounds
  bool one_rounding;        // the cells hold it; otherwise low..high is an estimate of an effective
                            // weight
};

struct EndsWeights {
  Combination combination;
  int complexity;  // digits needed to write it; ties among equal replays go to the lowest
};

// At most 64, simplest first; replay decides.
std::vector<EndsWeights> weights_within(const EndsObservation& seen);

}  // namespace hieron
