// Sums down the columns of a tensor, whatever the order in which its rows are seen: figures for
// groups of rows, added up in a fixed binary tree as they come. Two neighbours in the tree are
// added as soon as both are there, so that few of them wait at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <tuple>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

class ColumnSums {
 public:
  // `matrices` stacked matrices (experts) of `rows` × `columns`, and `figures` sums for each
  // column.
  ColumnSums(uint64_t matrices, uint64_t rows, uint64_t columns, size_t figures);

  uint64_t grain() const { return group_rows_ * columns_; }  // elements: pieces begin at multiples
  uint64_t held() const;  // bytes, at most, if rows come in order

  // Calls add(first, rows, sums) for each group of rows of the piece, `first` being an element of
  // the piece. `sums`: figure f of column j is sums[f * columns + j], zero at first. Thread-safe.
  template <class Add>
  void each_group(const Piece& piece, const Add& add) {
    for (size_t first = 0; first < piece.count; first += grain()) {
      const uint64_t rows = std::min<uint64_t>(grain(), piece.count - first) / columns_;
      std::vector<double> sums(figures_ * columns_);
      add(first, rows, std::span(sums));
      put((piece.first + first) / columns_, std::move(sums));
    }
  }

  // After a pass over the whole tensor.
  std::span<const double> total(uint64_t matrix) const { return totals_[matrix]; }

 private:
  void put(uint64_t row, std::vector<double> sums);

  const uint64_t rows_, columns_;
  const size_t figures_;
  uint64_t group_rows_, groups_;  // of each matrix
  std::vector<std::vector<double>> totals_;
  std::mutex mutex_;
  // (matrix, level, index) of a node of the tree whose neighbour has not come yet.
  std::map<std::tuple<uint64_t, int, uint64_t>, std::vector<double>> waiting_;
};

}  // namespace hieron
