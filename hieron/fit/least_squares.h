// Least squares among many columns, from their products alone: who of a hundred models is needed to
// make one. One pass over the data; every question after that costs no data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hieron {

// Products of columns summed over rows.
class Gram {
 public:
  explicit Gram(size_t columns) : columns_(columns), sums_(columns * columns) {}
  void add(std::span<const double> row);  // one value for each column
  Gram& operator+=(const Gram& other);

  size_t columns() const { return columns_; }
  uint64_t rows() const { return rows_; }
  double at(size_t a, size_t b) const { return a >= b ? sums_[a * columns_ + b] : at(b, a); }

 private:
  size_t columns_;
  uint64_t rows_ = 0;
  std::vector<double> sums_;  // the lower triangle
};

struct FittedColumns {
  std::vector<double> weights;  // of the columns asked for
  std::vector<double> lost;     // what the rest would grow by without each of them
  double rest = 0;              // Σ (target − Σ w·column)²
};

// target ≈ Σ w_k·columns[k]. Columns that the others span get no weight. Costs columns³.
FittedColumns fit_columns(const Gram& gram, size_t target, std::span<const size_t> columns);

}  // namespace hieron
