#include "hieron/core/cell.h"

#include <cmath>
#include <limits>

#include "hieron/core/float_layout.h"

namespace hieron {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The cell of a magnitude, as an interval of the non-negative side; low is negative for zero only.
struct Ends {
  double low, high;
};

// Midpoints between doubles are no doubles: the next doubles outward are the neighbours themselves.
Ends outward_ends(double magnitude) {
  return {std::nextafter(magnitude, -kInfinity), std::nextafter(magnitude, kInfinity)};
}

Ends exact_ends(const FloatLayout& layout, uint64_t magnitude) {
  const bool saturates = layout.non_finite == NonFinite::kNone && magnitude == layout.largest;
  const double high = saturates ? kInfinity : layout.midpoint_above(magnitude).as_double();
  if (magnitude > 0) return {layout.midpoint_above(magnitude - 1).as_double(), high};
  // Below the smallest scale of an unsigned format everything down to zero is stored as it.
  return {layout.sign ? -high : 0.0, high};
}

}  // namespace

std::optional<Cell> cell(DType dtype, uint64_t bits) {
  if (!info(dtype).format || non_finite(dtype, bits)) return std::nullopt;
  const FloatLayout& layout = float_layout(dtype);
  const uint64_t magnitude = bits & ~layout.sign;
  const Ends ends = dtype == DType::kF64 ? outward_ends(layout.value(magnitude).as_double())
                                         : exact_ends(layout, magnitude);
  const bool closed = (bits & 1) == 0;
  if (bits & layout.sign) return Cell{-ends.high, -ends.low, closed};
  return Cell{ends.low, ends.high, closed};
}

}  // namespace hieron
