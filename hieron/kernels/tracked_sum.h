// A sum of products that knows how much it may be off: enough to decide nearly every rounding, at a
// few nanoseconds a product.
#pragma once

#include <cmath>

#include "hieron/kernels/isa.h"

namespace hieron {

// Knuth's two-sum: a + b = the result + error, exactly.
HIERON_INLINE double two_sum(double a, double b, double& error) {
  const double sum = a + b;
  const double b_part = sum - a;
  error = (a - (sum - b_part)) + (b - b_part);
  return sum;
}

// hi + lo + (what was lost) is the exact sum, and |what was lost| is at most `lost`, up to the
// roundings of `lost` itself.
struct TrackedSum {
  double hi = 0, lo = 0, lost = 0;

  HIERON_INLINE void add_product(double a, double b) {
    const double product = a * b;
    double error;
    hi = two_sum(hi, product, error);
    add_small(error);
    add_small(__builtin_fma(a, b, -product));
  }
  HIERON_INLINE double value() const { return hi + lo; }
  HIERON_INLINE double bound() const { return lost * (1 + 0x1p-30); }

 private:
  HIERON_INLINE void add_small(double x) {
    double error;
    lo = two_sum(lo, x, error);
    lost += std::fabs(error);
  }
};

}  // namespace hieron
