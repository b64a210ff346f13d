// Sums over a tensor that do not depend on how it was cut: figures per leaf, added up in a fixed
// binary tree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

class LeafSums {
 public:
  // `size` figures a leaf; a leaf is `leaf` elements (the last may be shorter). Pieces begin at
  // multiples of it.
  LeafSums(uint64_t elements, uint64_t leaf, size_t size);

  size_t size() const { return size_; }

  // Calls add(first, count, figures) for each leaf of the piece: elements [first, first + count) of
  // the piece. Each leaf is added to once per pass, by one thread.
  template <class Add>
  void each_leaf(const Piece& piece, const Add& add) {
    for (size_t first = 0; first < piece.count; first += leaf_) {
      const size_t count = std::min<size_t>(leaf_, piece.count - first);
      add(first, count, std::span(figures_).subspan((piece.first + first) / leaf_ * size_, size_));
    }
  }

  std::vector<double> total() const;

 private:
  const uint64_t leaf_;
  const size_t size_;
  std::vector<double> figures_;
};

}  // namespace hieron
