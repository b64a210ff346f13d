// The best product of two thin matrices for the difference of two tensors.
//
// Randomised SVD with power iterations (Halko, Martinsson, Tropp 2011, algorithms 4.4 and 5.1): the
// difference D is never held, only multiplied, block of rows by block of rows as it is read. Exact
// up to rounding where the sketch spans all of D.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// model − base, of two tensors of one shape [rows, columns].
struct TensorPair {
  const Checkpoint* model_checkpoint;
  const TensorInfo* model;
  const Checkpoint* base_checkpoint;
  const TensorInfo* base;
};

struct LowRankWish {
  std::optional<uint64_t> rank{};     // at most this
  std::optional<double> tolerance{};  // the smallest rank with ‖D − L·R‖ <= tolerance · ‖D‖, if any
                                      // will do; without it `rank`
  DType dtype = DType::kF32;          // of the factors
};

struct LowRankFit {
  uint64_t rank = 0;  // 0: D is zero
  std::vector<float> left,
      right;                  // L [rows, rank] = U·√S, R [rank, columns] = √S·Vᵀ; values of `dtype`
  double norm = 0;            // ‖D‖, Frobenius
  double relative_error = 0;  // ‖D − L·R‖ / ‖D‖ of the factors as they are, not an estimate
};

// D in f64, single-threaded: the same bytes for any number of callers at once. Reads both tensors
// six times (twice, if rank + 10 >= min(rows, columns)), more often where a tolerance makes it
// widen its sketch. Memory: some 4·(rows + columns)·(rank + 10) doubles.
Result<LowRankFit> fit_low_rank(const TensorPair& pair, const LowRankWish& wish, const Prf& sketch);

}  // namespace hieron
