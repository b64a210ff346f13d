// The interval of reals that round to a stored value ("rounding cell"), round-to-nearest-even.
//
// A recipe explains an element iff the exact value it computes lies in the suspect's cell, give or
// take the rounding of the arithmetic that made it; see docs/assay.md §2.
#pragma once

#include <cstdint>
#include <optional>

#include "hieron/core/dtype.h"

namespace hieron {

struct Cell {
  double low, high;  // low <= high; midpoints to the two neighbours, exact in f64 for formats of 32
                     // bits or fewer
  bool closed;       // the end points belong to the cell iff the stored mantissa is even
  bool contains(double x) const { return closed ? (x >= low && x <= high) : (x > low && x < high); }
  double width() const { return high - low; }
};

// The cell of one stored value. Infinities and NaN have none: they must match bit for bit; so must
// integers. At a power of two the lower half-gap is half as wide; the largest finite value's cell
// ends where rounding would overflow; the cells of +0 and -0 are the same interval (-tiny/2,
// +tiny/2). For F64 the ends are the nearest doubles to the midpoints, rounded outward.
std::optional<Cell> cell(DType dtype, uint64_t bits);

}  // namespace hieron
