#include "hieron/fit/least_squares.h"

#include <algorithm>

namespace hieron {
namespace {

constexpr double kSpanned = 1e-12;  // of a column's square: the others make it, but for rounding

}  // namespace

void Gram::add(std::span<const double> row) {
  for (size_t a = 0; a < columns_; ++a) {
    double* sums = &sums_[a * columns_];
    const double value = row[a];
    for (size_t b = 0; b <= a; ++b) sums[b] += value * row[b];
  }
  ++rows_;
}

Gram& Gram::operator+=(const Gram& other) {
  for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
  rows_ += other.rows_;
  return *this;
}

// Gauss–Jordan on the products bordered by the target: what is left in the corner is the rest, and
// the swept block is the negative inverse, whose diagonal says what each column is worth.
FittedColumns fit_columns(const Gram& gram, size_t target, std::span<const size_t> columns) {
  const size_t n = columns.size(), width = n + 1;
  std::vector<double> m(width * width);
  const auto of = [&](size_t i) { return i < n ? columns[i] : target; };
  for (size_t i = 0; i < width; ++i) {
    for (size_t j = 0; j < width; ++j) m[i * width + j] = gram.at(of(i), of(j));
  }
  std::vector<bool> swept(n, false);
  for (size_t k = 0; k < n; ++k) {
    const double pivot = m[k * width + k];
    if (pivot <= kSpanned * gram.at(columns[k], columns[k])) continue;
    swept[k] = true;
    for (size_t i = 0; i < width; ++i) {
      if (i == k) continue;
      const double factor = m[i * width + k] / pivot;
      for (size_t j = 0; j < width; ++j) {
        if (j != k) m[i * width + j] -= factor * m[k * width + j];
      }
    }
    for (size_t i = 0; i < width; ++i) {
      if (i == k) continue;
      m[i * width + k] /= pivot;
      m[k * width + i] /= pivot;
    }
    m[k * width + k] = -1 / pivot;
  }
  FittedColumns fit{.weights = std::vector<double>(n), .lost = std::vector<double>(n)};
  fit.rest = std::max(0.0, m[n * width + n]);
  for (size_t k = 0; k < n; ++k) {
    if (!swept[k]) continue;
    fit.weights[k] = m[k * width + n];
    fit.lost[k] = fit.weights[k] * fit.weights[k] / -m[k * width + k];
  }
  return fit;
}

}  // namespace hieron
