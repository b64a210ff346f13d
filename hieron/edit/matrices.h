// Matrices of the suspect and of a model as numbers, for edits that only linear algebra shows.
#pragma once

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>
#include <functional>
#include <vector>

#include "hieron/edit/edit.h"

namespace hieron {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Of a matrix at most so many elements are held at once, per model and thread: 64 MiB.
inline constexpr uint64_t kMostElements = 1u << 23;

// What a tensor's numbers are rounded to: the stored format, or a narrower one that holds them all.
class Rounding {
 public:
  Rounding(DType stored, const Matrix& values);
  DType dtype() const { return dtype_; }
  double ulp(double value) const;  // distance to the next number

 private:
  DType dtype_;
  FloatFormat format_;
};

// Threads that may each work on a pair of matrices of so many elements within the memory given.
unsigned matrix_threads(const WalkOptions& walk, uint64_t elements);

struct MatrixPair {
  Matrix suspect, model;
};

// A tensor of two dimensions that both store as floats.
bool is_matrix_of_both(const Row& row, size_t model);

// At most `rows` of the tensor's rows, evenly spaced, and the first `columns` of its columns.
Result<MatrixPair> read_some(const EditCase& given, size_t row, size_t model, uint64_t rows,
                             uint64_t columns);

// All of it, some rows at a time: visit(first row, pair).
Status for_each_rows(const EditCase& given, size_t row, size_t model,
                     const std::function<void(Eigen::Index, const MatrixPair&)>& visit);

// The values as the suspect's format would store them, against the suspect's.
ExplainedRow compare_rounded(const Matrix& suspect, const Matrix& made, const Rounding& rounding);

}  // namespace hieron
