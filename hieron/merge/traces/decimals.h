// Round numbers inside an interval: what a person could have written as a weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hieron {

struct Decimal {
  int64_t mantissa;  // value = mantissa / 10^digits, not divisible by 10 unless digits is 0
  int digits;        // after the point
  double value() const;
  Decimal complement() const;  // 1 − value, as a decimal of as many digits
};

// All decimals of 0 to `most_digits` digits in [low, high], fewest digits first, then ascending; at
// most `limit`.
std::vector<Decimal> decimals_within(double low, double high, int most_digits, size_t limit);

// The decimal of fewest digits in [low, high], the one nearest to `target` if several. low <=
// target <= high.
Decimal shortest_decimal(double low, double high, double target);

}  // namespace hieron
