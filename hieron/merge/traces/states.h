// The states that the elements of a masked merge can be in, and where the suspect's changes lie.
//
//   y = s − b,  d_k = x_k − b,  state T ⊆ parents: those whose change stays
//   sum      y = Σ_{k∈T} a_k·d_k
//   average  y = Σ_{k∈T} w_k·a_k·d_k / Σ_{k∈T} w_k     (an election that divides by what stays)
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/fit/interval.h"
#include "hieron/merge/evidence.h"

namespace hieron {

enum class Mixing : uint8_t { kSum, kAverage };

// A state is a set of parents, as bits.
struct States {
  static constexpr size_t kMostParents = 4;
  static constexpr size_t kMost = size_t{1} << kMostParents;

  size_t parents = 0;
  Mixing mixing = Mixing::kSum;
  std::vector<double> weights = {};  // kAverage: they sum to one
  bool elected = false;              // changes of two signs never stay together

  size_t count() const { return size_t{1} << parents; }
  // What a parent's a_k·d_k counts for in a state that it is in.
  double share(size_t state, size_t parent) const;
  // By state: y, and the size of what is added up (for the rounding of it); NaN where there is no
  // such state. scaled[k]: a_k·d_k.
  void predict(std::span<const double> scaled, std::span<double> y, std::span<double> size) const;
};

// How far an exact combination may be off, relative to the size of what is added up: sums and
// products rounded at every step, or f32's noise if only the result is rounded.
double rounding_of(DType dtype, bool one_rounding);

// Where the suspect's change from the base lies, for each element.
class SeenChanges {
 public:
  SeenChanges(const WholeTensor& whole, size_t base);

  size_t size() const { return widths_.size(); }
  double width(size_t i) const { return widths_[i]; }  // of the cell; NaN: not to be used
  double low(size_t i) const { return cells_[i].low; }
  double high(size_t i) const { return cells_[i].high; }
  double middle(size_t i) const { return (low(i) + high(i)) / 2; }
  bool holds(size_t i, double y, double slack) const {
    return y >= low(i) - slack && y <= high(i) + slack;
  }

 private:
  std::vector<CellEnds> cells_;
  std::vector<double> widths_;
};

}  // namespace hieron
