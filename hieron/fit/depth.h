// Depth: the largest share of elements that one alpha explains, and where that alpha lies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hieron/fit/interval.h"

namespace hieron {

// Searched range of alpha. A parent refitted against its own child peaks far outside [0, 1].
inline constexpr double kAlphaMin = -4, kAlphaMax = 5;

struct Depth {
  uint64_t informative = 0;  // elements with leverage >= k
  uint64_t covered = 0;      // of them, how many the best alpha explains
  double low = 0, high = 0;  // where the best alpha lies: hard bounds, not a confidence interval
  double share() const {
    return informative ? static_cast<double>(covered) / static_cast<double>(informative) : 0;
  }
  double alpha() const { return (low + high) / 2; }
};

// max over alpha of #{ i : leverage_i >= k, alpha in A_i }, exactly. Of several maxima the lowest
// alpha. O(n) and a sort of the few intervals near the peak.
Depth depth(std::span<const AlphaInterval> intervals, double k);

// How many of the intervals with leverage >= k contain alpha.
uint64_t covered_at(std::span<const AlphaInterval> intervals, double k, double alpha);

// The share covered at each alpha of an ascending grid; one pass.
std::vector<double> depth_curve(std::span<const AlphaInterval> intervals, double k,
                                std::span<const double> grid);

// Weight of evidence, in bits, that one alpha was used: Σ_covered −log2(width) − misses·log2(1/eps)
// − log2(alphas tried) − log2(parent sets tried); eps = 2^-10 per miss. docs/assay.md §3.
double evidence_bits(std::span<const AlphaInterval> intervals, double k, double alpha,
                     double parent_sets_tried);

}  // namespace hieron
