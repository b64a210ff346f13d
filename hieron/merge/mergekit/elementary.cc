#include "hieron/merge/mergekit/elementary.h"

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace hieron::mergekit {
namespace {

// π/2 in parts: the first two have few enough bits for exact products with the quadrant.
constexpr double kHalfPi1 = 0x1.921fb544p+0, kHalfPi2 = 0x1.0b4611a6p-34,
                 kHalfPi3 = 0x1.3198a2e037073p-69;

struct Reduced {
  double rest;   // in [−π/4, π/4]
  int quadrant;  // 0…3
};

Reduced reduce(double x) {
  const double turns = std::nearbyint(x / (std::numbers::pi / 2));
  const double rest = x - turns * kHalfPi1 - turns * kHalfPi2 - turns * kHalfPi3;
  return {rest, static_cast<int>(static_cast<long long>(turns) & 3)};
}

// Taylor series, innermost first.
double sine_near_zero(double x) {
  const double square = x * x;
  double sum = 1;
  for (int k = 20; k >= 2; k -= 2) sum = 1 - square / (k * (k + 1)) * sum;
  return x * sum;
}

double cosine_near_zero(double x) {
  const double square = x * x;
  double sum = 1;
  for (int k = 21; k >= 1; k -= 2) sum = 1 - square / (k * (k + 1)) * sum;
  return sum;
}

double in_quadrant(Reduced at) {
  const double magnitude =
      at.quadrant % 2 == 0 ? sine_near_zero(at.rest) : cosine_near_zero(at.rest);
  return at.quadrant < 2 ? magnitude : -magnitude;
}

// Newton's iteration from the first terms of the series; |x| <= 1/2.
double arc_sine_near_zero(double x) {
  double y = x * (1 + x * x / 6);
  for (int i = 0; i < 3; ++i) y -= (sine_near_zero(y) - x) / cosine_near_zero(y);
  return y;
}

}  // namespace

double sine(double x) { return in_quadrant(reduce(x)); }

double cosine(double x) {
  Reduced at = reduce(x);
  at.quadrant = (at.quadrant + 1) % 4;
  return in_quadrant(at);
}

double arc_cosine(double x) {
  if (!(std::abs(x) <= 1)) return std::numeric_limits<double>::quiet_NaN();
  if (x > 0.5) return 2 * arc_sine_near_zero(std::sqrt((1 - x) / 2));
  if (x < -0.5) return std::numbers::pi - 2 * arc_sine_near_zero(std::sqrt((1 + x) / 2));
  return std::numbers::pi / 2 - arc_sine_near_zero(x);
}

double exponential(double x) {
  if (std::isnan(x)) return x;
  if (x > 710) return std::numeric_limits<double>::infinity();
  if (x < -746) return 0;
  constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
  const double twos = std::nearbyint(x / std::numbers::ln2);
  const double rest = x - twos * kLn2High - twos * kLn2Low;
  double sum = 1;
  for (int k = 16; k >= 1; --k) sum = 1 + rest / k * sum;
  return std::ldexp(sum, static_cast<int>(twos));
}

double logarithm(double x) {
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < std::numbers::sqrt2 / 2) {
    mantissa *= 2;
    --exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1), square = s * s;
  double sum = 0;
  for (int k = 25; k >= 3; k -= 2) sum = square * (1.0 / k + sum);
  return exponent * std::numbers::ln2 + 2 * s * (1 + sum);
}

}  // namespace hieron::mergekit
