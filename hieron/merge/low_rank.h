// A tensor plus a product of two thin matrices: W + scaling · L·R, row by row, worked out as it is
// read.
//
//   LoRA       Hu et al. 2021: L = B [out, r], R = A [r, in]; transposed where the weight is [in,
//   out] DoRA       Liu et al. 2024: m ⊙ (W + scaling·L·R) / ‖W + scaling·L·R‖, the norm over the
//   inputs of
//              each output: over rows of a weight [out, in], over columns of one [in, out]
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

// L [rows, rank] and R [rank, columns], row-major, and the magnitudes m if there are any: one a row
// or one a column.
struct LowRankFactors {
  uint64_t rows = 0, rank = 0, columns = 0;
  std::vector<float> left, right;
  std::vector<double> magnitudes;
  bool magnitude_by_row = true;
};

enum class AdapterArithmetic : uint8_t {
  // The terms of an element's sum in the order of the rank, in f64; scaled and added to W in f64;
  // one
  // rounding to W's dtype. Norms: f64, in a fixed order. The same bytes on every machine.
  kExact,
  // As PEFT's merge_and_unload on CPU: L·R in f32 with fused multiply-adds, times f32(scaling),
  // added
  // to f32(W); one rounding. (An F64 base: as kExact.)
  kPeft,
};

// Asked for whenever the factors are needed; may read them anew. Thread-safe.
using FactorSource = std::function<Result<std::shared_ptr<const LowRankFactors>>()>;

struct LowRankRule {
  double scaling = 1;
  AdapterArithmetic arithmetic = AdapterArithmetic::kExact;
  bool product_rounded = false;  // kPeft: scaling · L·R is rounded to W's dtype first (embeddings)
};

// The sum as a tensor with the dtype and shape of `base`, which is a tensor of `checkpoint` with
// rows · columns elements; its rows are its first axis. Element (i, j) does not depend on the range
// that is read. Thread-safe. Memory of a read: its result and 20 KiB; with magnitudes the first
// read takes the norms, in one more pass over the base tensor.
std::shared_ptr<const ComputedTensor> with_low_rank(std::shared_ptr<const Checkpoint> checkpoint,
                                                    TensorInfo base, FactorSource factors,
                                                    const LowRankRule& rule);

}  // namespace hieron
