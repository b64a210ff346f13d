// What each element of a suspect says about alpha in s = alpha·p + (1 − alpha)·q.
//
// Element i admits alpha in A_i = [(l − e − q)/x, (u + e − q)/x], x = p − q, [l, u] the cell of
// s_i, and e the slack of f32 arithmetic, 3e-7·(|alpha·p| + |(1−alpha)·q|) at the element's own
// alpha (docs/assay.md §2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"

namespace hieron {

inline constexpr double kSlack = 3e-7;       // of Σ|w·x|: a few ulps of binary32
inline constexpr double kLeastLeverage = 4;  // |x| below this many cells says too little to keep

struct AlphaInterval {
  double low, high;
  float leverage;  // |x| / width of the widened cell: how many cells apart the ends are, >=
                   // kLeastLeverage
};

// Elements stored by three models, the same elements in each.
struct BlendSample {
  DType suspect_dtype;
  std::span<const double> suspect, first,
      second;  // values; the suspect's are exact in suspect_dtype
};

struct IntervalCounts {
  uint64_t elements = 0;         // finite in all three
  uint64_t ends_equal = 0;       // x = 0: says nothing about alpha …
  uint64_t ends_equal_kept = 0;  // … but must lie in the cell of the common value
  uint64_t not_finite = 0;
  IntervalCounts& operator+=(const IntervalCounts&);
};

// Appends the intervals of the elements with leverage >= kLeastLeverage.
IntervalCounts admissible(const BlendSample& sample, std::vector<AlphaInterval>& out);

// The ends of the cells of values that are exact in the format; NaN where there is no cell.
struct CellEnds {
  double low, high;
};
void cell_ends(DType dtype, std::span<const double> values, std::span<CellEnds> out);

// Is the value within the cell of `stored` widened by `slack` on both sides?
bool explains(DType dtype, double stored, double value, double slack);

// The narrowest format that holds every value exactly: an f32 file whose values are all bf16 is a
// bf16 file that was widened, and its cells are bf16's. Tries BF16 and F16 for F32, those and F32
// for F64.
DType true_dtype(DType stored, std::span<const double> values);

}  // namespace hieron
