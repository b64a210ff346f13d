// A weighted sum of the inputs, element by element: what many methods come down to once their
// weights are known.
#pragma once

#include <utility>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

class BlendWork final : public TensorWork {
 public:
  // `which[j]`: the operand of weight j; empty: operand j. An operand may stand several times, so
  // that a weight which is a sum of decimals (1 − w of a base) needs no rounding.
  BlendWork(Combination combination, Arithmetic arithmetic, DType out,
            std::vector<size_t> which = {})
      : combination_(std::move(combination)),
        arithmetic_(arithmetic),
        out_(out),
        which_(std::move(which)) {}

  void apply(const Piece& piece, std::byte* out, WorkScratch& scratch) const override;

 private:
  const Combination combination_;
  const Arithmetic arithmetic_;
  const DType out_;
  const std::vector<size_t> which_;
};

}  // namespace hieron
