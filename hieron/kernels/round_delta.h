// A base plus a weighted mean of differences from it, where every element has weights of its own:
// what task-vector methods come down to once it is known which changes are kept.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"

namespace hieron {

// For each element i:  base_i + Σ_k c_ki·(x_ki − base_i) / n_i,   n_i = Σ_k w_ki.
struct DeltaSum {
  const double* base;
  std::span<const double* const> values;        // x, one array per model
  std::span<const double* const> coefficients;  // c, one array per model; 0: takes no part
  std::span<const double* const> weights;       // w, one array per model; empty, or a sum that is
                                                // zero: n_i = 1
};

// Stores the correctly rounded values as `out_dtype` (F64: f64 arithmetic, in the order of the
// models). An element of which no model takes part keeps the base's value, -0 included. The result
// does not depend on the order of the models, on how a tensor is cut, nor on the ISA.
void round_delta(const DeltaSum& sum, DType out_dtype, std::byte* out, size_t count,
                 std::vector<double>& scratch);

// The sign of Σ_k c_k·(x_k − base), exactly: -1, 0 or 1. For sums that f64 cannot decide.
int sign_of_delta(double base, std::span<const double> x, std::span<const double> coefficients);

}  // namespace hieron
