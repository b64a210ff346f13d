// A floating-point format as bit patterns: what `decode`, `encode`, `cell` and the exact blend
// share.
//
// A magnitude pattern is a pattern without its sign bit. Magnitude patterns count upwards with the
// value, through subnormals, binades and (where there is one) infinity, so "the next value" is
// pattern + 1.
#pragma once

#include <cmath>
#include <cstdint>

#include "hieron/core/dtype.h"

namespace hieron {

// significand · 2^exponent
struct Scaled {
  uint64_t significand;
  int exponent;
  double as_double() const { return std::ldexp(static_cast<double>(significand), exponent); }
};

struct FloatLayout {
  NonFinite non_finite;
  int mantissa_bits;
  int smallest_normal_exponent;
  uint64_t sign;      // the sign bit, 0 if the format has none
  uint64_t largest;   // magnitude pattern of the largest finite value
  uint64_t overflow;  // what a larger value is stored as: infinity, NaN, or the largest
  uint64_t nan;       // the quiet NaN (the largest, where there is none)

  bool is_nan(uint64_t bits) const {
    switch (non_finite) {
      case NonFinite::kIeee:
        return (bits & ~sign) > overflow;
      case NonFinite::kNanOnly:
        return (bits & ~sign) == nan;
      case NonFinite::kNegativeZero:
      case NonFinite::kScaleOnly:
        return bits == nan;
      case NonFinite::kNone:
        return false;
    }
    return false;
  }

  // The value of a magnitude pattern as a plain continuation of the number line: the pattern after
  // `largest` has the value that rounding would give it if the format went on.
  Scaled value(uint64_t magnitude) const {
    const uint64_t mantissa = magnitude & ((uint64_t{1} << mantissa_bits) - 1);
    const int stored = static_cast<int>(magnitude >> mantissa_bits);
    const bool has_subnormals = non_finite != NonFinite::kScaleOnly;
    if (stored == 0 && has_subnormals) return {mantissa, smallest_normal_exponent - mantissa_bits};
    return {mantissa | uint64_t{1} << mantissa_bits,
            smallest_normal_exponent + stored - has_subnormals - mantissa_bits};
  }

  // The point half-way between a magnitude pattern and the next one.
  Scaled midpoint_above(uint64_t magnitude) const {
    const Scaled low = value(magnitude);
    return {2 * low.significand + 1, low.exponent - 1};
  }

  double smallest() const { return value(non_finite == NonFinite::kScaleOnly ? 0 : 1).as_double(); }

  // The pattern of a value with this magnitude and sign. One NaN, one zero: no sign to add (…FNUZ).
  uint64_t with_sign(uint64_t magnitude, bool negative) const {
    if (!negative) return magnitude;
    const bool signless = non_finite == NonFinite::kNegativeZero && (magnitude & ~sign) == 0;
    return signless ? magnitude : magnitude | sign;
  }
};

// The layout of a floating-point dtype.
const FloatLayout& float_layout(DType dtype);

}  // namespace hieron
