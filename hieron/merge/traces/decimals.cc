#include "hieron/merge/traces/decimals.h"

#include <algorithm>
#include <cmath>

namespace hieron {
namespace {

constexpr int kMostDigits = 17;

double power_of_ten(int digits) {
  double power = 1;  // exact up to 10^22
  for (int i = 0; i < digits; ++i) power *= 10;
  return power;
}

}  // namespace

double Decimal::value() const { return static_cast<double>(mantissa) / power_of_ten(digits); }

Decimal Decimal::complement() const {
  return {static_cast<int64_t>(power_of_ten(digits)) - mantissa, digits};
}

std::vector<Decimal> decimals_within(double low, double high, int most_digits, size_t limit) {
  std::vector<Decimal> found;
  for (int digits = 0; digits <= most_digits; ++digits) {
    const double power = power_of_ten(digits);
    const auto first = static_cast<int64_t>(std::floor(low * power)) - 1;
    const auto last = static_cast<int64_t>(std::ceil(high * power)) + 1;
    for (int64_t m = first; m <= last && found.size() < limit; ++m) {
      if (digits > 0 && m % 10 == 0) continue;
      const Decimal decimal{m, digits};
      if (decimal.value() >= low && decimal.value() <= high) found.push_back(decimal);
    }
  }
  return found;
}

Decimal shortest_decimal(double low, double high, double target) {
  for (int digits = 0; digits < kMostDigits; ++digits) {
    const double power = power_of_ten(digits);
    if (std::abs(target) * power > 9e15) break;
    Decimal decimal{static_cast<int64_t>(std::llround(target * power)), digits};
    if (decimal.value() >= low && decimal.value() <= high) return decimal;
  }
  const int digits = std::abs(target) < 9 ? 15 : 9;
  return {static_cast<int64_t>(std::llround(target * power_of_ten(digits))), digits};
}

}  // namespace hieron
