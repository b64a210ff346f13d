// From a fit to a recipe: weights and arithmetic whose replay of the sample agrees best with the
// suspect.
//
// Nothing here decides: estimates give a short list, each entry is replayed on the sample, and the
// one that reproduces most elements goes to the proof (assay/proof.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/evidence/two_ends.h"
#include "hieron/assay/result.h"
#include "hieron/kernels/arithmetic.h"

namespace hieron {

struct CandidateRecipe {
  Ends ends;
  Varies varies = Varies::kGlobal;
  Arithmetic arithmetic = Arithmetic::kExact;
  std::map<std::string, Combination> groups;  // by group_key; every group of the sample has one
  uint64_t elements = 0, equal = 0;           // replayed on the sample, where the ends differ
  std::vector<ArithmeticShare> shares;        // every arithmetic tried, best first
  double share() const {
    return elements ? static_cast<double>(equal) / static_cast<double>(elements) : 0;
  }
};

// `single_rounding`: the cells hold the depth (class E), so alpha's bounds are hard; otherwise the
// estimate is an effective weight and arithmetic with several roundings is tried around it.
std::optional<CandidateRecipe> search_recipe(const Alignment& alignment, const Sample& sample,
                                             size_t suspect, Ends ends, const EndsFit& fit,
                                             Varies varies, bool single_rounding, unsigned threads);

// Arithmetic with one rounding: the exact value lies in the suspect's cell, give or take f32's
// slack.
bool rounds_once(Arithmetic arithmetic);

}  // namespace hieron
