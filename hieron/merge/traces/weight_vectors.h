// Weights that vary over the tensors, as gradients and filters leave them: `recover` for weighted
// sums.
//
// A recipe has few different vectors of weights. What the fit knows of each to six digits, or to
// two where every step was rounded, is put down to decimals that somebody could have written, and
// those are taken that reproduce most elements. docs/recovery.md §9.
#pragma once

#include <vector>

#include "hieron/kernels/arithmetic.h"
#include "hieron/merge/evidence.h"
#include "hieron/merge/hypothesis.h"

namespace hieron {

enum class WrittenWeights : uint8_t {
  kAsTheyAre,  // the fitted weights are those of the recipe
  kRatios,     // the recipe's are divided by their sum
};

// Adds `hypothesis`, of an elementwise method, with values of its inputs' `weight` that vary by
// tensor; `complexity` grows by what it takes to write them. Once for each way in which it is
// likely to have been computed: exactly or in f32 in each order of the inputs, where the fit shows
// one rounding; else step by step in the suspect's dtype (`bf16`: how, for BF16). Nothing if the
// tensors have too many different vectors.
void add_weight_vectors(const Evidence& evidence, const Hypothesis& hypothesis,
                        WrittenWeights written, Arithmetic bf16, std::vector<Hypothesis>& found);

}  // namespace hieron
