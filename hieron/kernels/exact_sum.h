// A sum of products of floating-point numbers without any rounding: one fixed-point number wide
// enough for every product of two doubles, and of a double with a midpoint between doubles. Slow
// (some hundred nanoseconds) and never wrong: the last resort of the exact blend.
#pragma once

#include <array>
#include <cstdint>

#include "hieron/core/float_layout.h"

namespace hieron {

class ExactSum {
 public:
  // Adds a·b. Finite numbers only; `b` may be any value or midpoint of a format up to F64.
  void add_product(double a, double b);
  void add_product(double a, Scaled b, bool negate);

  int sign() const;  // -1, 0, 1
  // |sum|, its 64 leading bits, truncated. The sum must not be zero.
  Scaled leading() const;
  // A double next to the sum; infinite if there is none. Subtracting it again and again splits a
  // sum of doubles into terms that add up to it exactly.
  double near() const;

 private:
  static constexpr int kLimbs = 70;
  static constexpr int kLowest = -2200;  // the weight of the last bit is 2^kLowest
  __extension__ using Wide = unsigned __int128;

  void add(bool negative, Wide magnitude, int exponent);
  std::array<uint64_t, kLimbs> magnitude() const;

  std::array<uint64_t, kLimbs> limbs_{};  // two's complement, low limb first
};

}  // namespace hieron
