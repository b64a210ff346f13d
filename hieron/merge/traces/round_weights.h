// Weights that somebody could have written down, near those that a fit gave: for `recover`.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/hypothesis.h"

namespace hieron {

struct RoundWeights {
  std::vector<double> weights;
  int complexity;  // 10 for each digit of the longest, more for large ones
};

// How far a written weight may lie from the fitted one: arithmetic that rounds every operation
// rounds the weights too (docs/recovery.md §2).
double weight_tolerance(FitClass fit_class);
// The same for ratios, of which there are many more to choose from.
double ratio_tolerance(FitClass fit_class);

// Vectors of decimals of one to four digits, each weight within the tolerance, simplest first, at
// most `limit`; the fitted weights themselves, to seven digits, are the last.
std::vector<RoundWeights> round_weights(std::span<const double> fitted, double tolerance,
                                        size_t limit);

// The same for weights of which only the ratios count: multiples that are round too (.8 and .6 for
// .571 and .429).
std::vector<RoundWeights> round_ratios(std::span<const double> fitted, double tolerance,
                                       size_t limit);

// The fitted weights of `models` in every tensor, rounded to `digits`, as values that vary by
// tensor; one for each model. Tensors that say little get the value of those of their role and
// layer, else of their role.
std::vector<ParameterValue> weights_by_tensor(const Evidence& evidence,
                                              std::span<const size_t> models, int digits);

// weights[k] of the fit that belongs to this model.
double fitted_weight(const Evidence& evidence, const SpanFit& fit, size_t model);

}  // namespace hieron
