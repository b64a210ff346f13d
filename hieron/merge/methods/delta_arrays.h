// The inputs of a leaf as f64, beside arrays for what a method decides about each element.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/round_delta.h"
#include "hieron/merge/method.h"

namespace hieron {

// Arrays of `count` elements each, in the scratch of a thread; valid until the next use of it.
class DeltaArrays {
 public:
  // Elements [first, first + count) of the piece.
  DeltaArrays(const Piece& piece, size_t base, size_t first, size_t count, WorkScratch& scratch)
      : count_(count), scratch_(scratch) {
    const size_t models = piece.operands.size() - 1;
    scratch.f64.resize(std::max(scratch.f64.size(), (1 + 3 * models) * count));
    double* next = scratch.f64.data();
    const auto take = [&] { return std::exchange(next, next + count); };
    base_ = take();
    read(piece.operands[base], first, base_);
    for (size_t k = 0; k < piece.operands.size(); ++k) {
      if (k == base) continue;
      values_.push_back(take());
      coefficients_.push_back(take());
      weights_.push_back(take());
      read(piece.operands[k], first, values_.back());
    }
  }

  size_t models() const { return values_.size(); }
  const double* base() const { return base_; }
  const double* value(size_t m) const { return values_[m]; }
  double difference(size_t m, size_t i) const { return values_[m][i] - base_[i]; }
  double& coefficient(size_t m, size_t i) { return coefficients_[m][i]; }
  double& weight(size_t m, size_t i) { return weights_[m][i]; }

  // base + Σ c·(x − base) [/ Σ w], stored.
  void round(bool divided, DType out_dtype, std::byte* out) {
    const std::vector<const double*> values(values_.begin(), values_.end()),
        coefficients(coefficients_.begin(), coefficients_.end()),
        weights(weights_.begin(), weights_.end());
    round_delta(
        {base_, values, coefficients,
         divided ? std::span<const double* const>(weights) : std::span<const double* const>()},
        out_dtype, out, count_, scratch_.blend.f64);
  }

 private:
  void read(const Operand& operand, size_t first, double* into) const {
    decode(operand.dtype, operand.data + first * static_cast<size_t>(info(operand.dtype).bits) / 8,
           std::span(into, count_));
  }

  const size_t count_;
  WorkScratch& scratch_;
  double* base_;
  std::vector<double*> values_, coefficients_, weights_;
};

}  // namespace hieron
