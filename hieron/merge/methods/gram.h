// Inner products (or squared distances) of every two of a tensor's inputs: all that slerp, nuslerp,
// multislerp, karcher, model stock and the geometric median have to know of it. One pass gathers
// them; the methods then work on that small matrix alone, and what they find is a weight for each
// input.
//
// The figures are f64 sums of f64 products, in 16 lanes over 512 elements, stretches of 512 one
// after the other over a leaf, leaves in a fixed tree: the same bits however the tensor was cut.
// The output is the correctly rounded value of the weighted sum.
//
// With an origin (a base model) the vectors are the differences from it, and the result is put back
// on it: b + Σ w_k·(x_k − b).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

enum class Gather : uint8_t { kInnerProducts, kSquaredDistances };

// A symmetric matrix, one row for each vector; the origin is none.
class PairFigures {
 public:
  explicit PairFigures(size_t vectors) : vectors_(vectors), figures_(count(vectors)) {}

  size_t vectors() const { return vectors_; }
  double operator()(size_t i, size_t j) const { return figures_[i <= j ? at(i, j) : at(j, i)]; }
  std::span<double> figures() { return figures_; }  // upper triangle, by rows
  bool finite() const;

  // Of inner products: the length of a vector, and the cosine between two: within ±1, exactly 1 for
  // a vector and itself, 0 where one of them is zero, the same for (i, j) and (j, i).
  double length(size_t i) const;
  double cosine(size_t i, size_t j) const;

  static size_t count(size_t vectors) { return vectors * (vectors + 1) / 2; }

 private:
  size_t at(size_t i, size_t j) const { return i * vectors_ - i * (i + 1) / 2 + j; }

  size_t vectors_;
  std::vector<double> figures_;
};

// The sum in an order of its own, by value: it does not depend on the order of the terms.
double orderless_sum(std::vector<double> terms);

// A weight for each vector, or why there is none: a clause that ends in what to do.
using Weights = std::expected<std::vector<double>, std::string>;
using Weigh = std::function<Weights(const PairFigures&)>;

// One set of weights for the whole tensor: a pass, then the sum.
std::unique_ptr<TensorWork> weigh_whole(const TensorTask& task, Gather gather, Weigh weigh,
                                        std::optional<size_t> origin = {});

// One set of weights for each row (along the last axis), without a pass. `weigh` has to find
// weights for all finite figures; a row that holds NaN or infinities becomes NaN. A tensor of one
// row is treated as a whole.
std::unique_ptr<TensorWork> weigh_rows(const TensorTask& task, Gather gather, Weigh weigh,
                                       std::optional<size_t> origin = {});

// One set of weights for each vector along the first axis: a pass that keeps a few doubles for each
// column (24 bytes × log2(rows) for two inputs), then the sum. As for rows; a 1-D tensor is treated
// as a whole.
std::unique_ptr<TensorWork> weigh_columns(const TensorTask& task, Weigh weigh,
                                          std::optional<size_t> origin = {});

}  // namespace hieron
