// How differently two rows weigh their entries: the divergence of their softmaxes.
#pragma once

#include <span>
#include <vector>

namespace hieron {

// Σ p·log(p / q), p = softmax(x) + ε, q = softmax(y) + ε, in f64; x and y of one length, finite.
// Relative error of the exponentials and logarithms below 2^-48. Plain arithmetic in a fixed order:
// the same bits on every machine, without its libm.
double softmax_divergence(std::span<const double> x, std::span<const double> y, double epsilon,
                          std::vector<double>& scratch);

}  // namespace hieron
