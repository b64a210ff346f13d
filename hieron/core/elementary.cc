#include "hieron/core/elementary.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace hieron {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// ---- sums of two doubles ----

// hi + lo, |lo| at most half an ulp of hi.
struct Two {
  double hi = 0, lo = 0;
};

// a + b = the result, exactly.
constexpr Two two_sum(double a, double b) {
  const double sum = a + b, b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

// The same, if |a| >= |b| or a = 0.
constexpr Two quick_two_sum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}

// a = hi + lo with 26 bits each. |a| < 2^996.
constexpr Two split(double a) {
  const double scaled = 134217729.0 * a;  // 2^27 + 1
  const double high = scaled - (scaled - a);
  return {high, a - high};
}

constexpr Two two_product(double a, double b) {
  const double product = a * b;
  const Two x = split(a), y = split(b);
  return {product, ((x.hi * y.hi - product) + x.hi * y.lo + x.lo * y.hi) + x.lo * y.lo};
}

constexpr Two operator-(Two a) { return {-a.hi, -a.lo}; }

constexpr Two operator+(Two a, Two b) {
  const Two high = two_sum(a.hi, b.hi), low = two_sum(a.lo, b.lo);
  const Two sum = quick_two_sum(high.hi, high.lo + low.hi);
  return quick_two_sum(sum.hi, sum.lo + low.lo);
}

constexpr Two operator+(Two a, double b) {
  const Two high = two_sum(a.hi, b);
  return quick_two_sum(high.hi, high.lo + a.lo);
}

constexpr Two operator*(Two a, Two b) {
  const Two product = two_product(a.hi, b.hi);
  return quick_two_sum(product.hi, product.lo + (a.hi * b.lo + a.lo * b.hi));
}

constexpr Two operator*(Two a, double b) {
  const Two product = two_product(a.hi, b);
  return quick_two_sum(product.hi, product.lo + a.lo * b);
}

// Long division: three digits of 53 bits.
constexpr Two operator/(Two a, Two b) {
  const double first = a.hi / b.hi;
  Two rest = a + -(b * first);
  const double second = rest.hi / b.hi;
  rest = rest + -(b * second);
  return quick_two_sum(first, second) + rest.hi / b.hi;
}

Two square_root(Two a) {
  if (a.hi == 0) return {};
  const double root = std::sqrt(a.hi);
  const Two rest = a + -two_product(root, root);
  return quick_two_sum(root, rest.hi / (2 * root));
}

double rounded(Two a) { return a.hi + a.lo; }

// ---- constants ----

constexpr std::array<double, 4> kHalfPi{0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54,
                                        -0x1.f1976b7ed8fbcp-110, 0x1.4cf98e804177dp-164};
constexpr Two kLn2{0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
constexpr double kLn2Third = 0x1.7b57a079a1934p-111;

constexpr size_t kFactorials = 32;
// 1/n!
constexpr std::array<Two, kFactorials> kInverseFactorial = [] {
  std::array<Two, kFactorials> inverse{Two{1, 0}};
  for (size_t n = 1; n < kFactorials; ++n) {
    inverse[n] = inverse[n - 1] / Two{static_cast<double>(n), 0};
  }
  return inverse;
}();

// The nearest integer, for |x| < 2^51.
double nearest(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

double power_of_two(int exponent) {  // a normal one
  return std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52);
}

// ---- sine and cosine ----

// From here on the terms of the series are so small that plain doubles do.
constexpr size_t kPlainFrom = 14;

// Σ (-1)^i r^(2i + first) / (2i + first)!; |r| < 0.8
Two alternating(Two r, size_t first) {
  const Two square = r * r;
  size_t n = 28 + first;
  double tail = kInverseFactorial[n].hi;
  for (; n - 2 >= kPlainFrom; n -= 2) tail = kInverseFactorial[n - 2].hi - tail * square.hi;
  Two sum{tail, 0};
  for (; n > first; n -= 2) sum = kInverseFactorial[n - 2] + -(sum * square);
  return first == 1 ? sum * r : sum;
}

// The same in plain doubles, good to 2^-51.
double plain_alternating(double r, size_t first) {
  const double square = r * r;
  size_t n = 18 + first;
  double sum = kInverseFactorial[n].hi;
  for (; n > first; n -= 2) sum = kInverseFactorial[n - 2].hi - sum * square;
  return first == 1 ? sum * r : sum;
}

Two sine_near_zero(Two r) { return alternating(r, 1); }
Two cosine_near_zero(Two r) { return alternating(r, 0); }

struct Reduced {
  Two rest;      // within ±π/4 and a little
  int quadrant;  // x = quadrant·π/2 + rest, modulo 2π
};

Reduced reduce(double x) {
  const double k = nearest(x * 0x1.45f306dc9c883p-1);  // 2/π
  Two rest{x, 0};
  for (double part : kHalfPi) rest = rest + -two_product(k, part);
  return {rest, static_cast<int>(static_cast<int64_t>(k) & 3)};
}

double of_quadrant(Two rest, int quadrant) {
  const double value = rounded(quadrant % 2 == 0 ? sine_near_zero(rest) : cosine_near_zero(rest));
  return quadrant >= 2 ? -value : value;
}

constexpr double kLargestAngle = 0x1p30;
// Below it x is the double nearest to sin x, and 1 that to cos x.
constexpr double kTinyAngle = 0x1p-27;

// ---- arc sine ----

// 0 <= s <= 0.5. Newton's method on the sine: the start is good to 4e-4, every step squares the
// error (and makes it smaller by a factor of more than 3). The last one in full.
Two arc_sine(Two s) {
  const double t = s.hi, u = t * t;
  double y = t * (1 + u * (1.0 / 6 + u * (3.0 / 40 + u * (15.0 / 336))));
  for (int step = 0; step < 3; ++step) {
    y += (t - plain_alternating(y, 1)) / plain_alternating(y, 0);
  }
  const Two rest = s + -sine_near_zero({y, 0});
  return quick_two_sum(y, (rest.hi + rest.lo) / plain_alternating(y, 0));
}

// ---- exponential ----

// e^x = 2^k·e^r, |r| <= ln(2)/2 and a little
constexpr Two exponential_near_zero(Two r) {
  Two sum = kInverseFactorial[25];
  for (size_t n = 25; n-- > 0;) sum = kInverseFactorial[n] + sum * r;
  return sum;
}

// a·2^k, rounded once. a.hi in (0.6, 1.5).
double scaled_result(Two a, int k) {
  const double value = rounded(a);
  if (k > 1000) return value * 0x1p1000 * power_of_two(k - 1000);
  if (k > -1022 || (k == -1022 && value >= 1)) return value * power_of_two(k);
  // Subnormal: round to the multiples of q, which is the smallest double over 2^k, in a sum whose
  // last bit is q.
  const double q = power_of_two(-1074 - k), magic = 0x1p52 * q;
  const Two sum = quick_two_sum(magic, a.hi);
  const double multiple = (sum.hi + (sum.lo + a.lo)) - magic;
  return multiple * power_of_two(k + 100) * 0x1p-100;
}

double exponential_long_way(double x) {
  const double k = nearest(x * 0x1.71547652b82fep+0);  // 1/ln 2
  Two r = Two{x, 0} + -two_product(k, kLn2.hi);
  r = r + -two_product(k, kLn2.lo);
  r = r + -k * kLn2Third;
  return scaled_result(exponential_near_zero(r), static_cast<int>(k));
}

// The short way: a table, and a polynomial whose rounding errors stay below 2^-64.
constexpr int kSteps = 64;
// 2^(j/64), j from -32 to 31
constexpr std::array<Two, kSteps> kPowersOfTwo = [] {
  std::array<Two, kSteps> powers{};
  double j = -0.5 * kSteps;
  for (Two& power : powers) power = exponential_near_zero(kLn2 * (j++ * 0x1p-6));
  return powers;
}();
// ln(2)/64: 32 bits, so that multiples up to 2^21 are exact; the next 53
constexpr double kStepHigh = 0x1.62e42feep-7, kStepLow = 0x1.a39ef35793c76p-39;

// The nearest double, if `value` is known well enough; else NaN.
double if_certain(double high, double low, double doubt) {
  const double above = high + (low + doubt), below = high + (low - doubt);
  return above == below ? above : kNan;
}

// -708 < x < 709
double exponential_short_way(double x) {
  const double step = nearest(x * 0x1.71547652b82fep+6);  // 64/ln 2
  const int n = static_cast<int>(step) + kSteps / 2;
  const Two power = kPowersOfTwo[static_cast<size_t>(n & (kSteps - 1))];
  const Two r = quick_two_sum(x - step * kStepHigh, -(step * kStepLow));
  const double h = r.hi;
  const double tail =
      1.0 / 6 + h * (1.0 / 24 + h * (1.0 / 120 + h * (1.0 / 720 + h * (1.0 / 5040))));
  const double more = h * h * (0.5 + h * tail) + (r.lo + h * r.lo);  // e^r - 1 - h
  const Two product = two_product(power.hi, h);
  const Two sum = quick_two_sum(power.hi, product.hi);
  const double low = sum.lo + (product.lo + (power.lo + power.lo * h) + power.hi * more);
  return if_certain(sum.hi, low, 0x1p-64) * power_of_two(n >> 6);
}

// ---- logarithm ----

// log((1 + s)/(1 - s)) = 2·(s + s^3/3 + s^5/5 …); |s| < 0.175
constexpr Two logarithm_near_one(double m) {
  const Two s = two_sum(m, -1) / two_sum(m, 1);
  const Two square = s * s;
  int n = 43;
  Two sum = Two{1, 0} / Two{static_cast<double>(n), 0};
  while (n > 1) {
    n -= 2;
    sum = Two{1, 0} / Two{static_cast<double>(n), 0} + sum * square;
  }
  return (sum * s) * 2.0;
}

double logarithm_long_way(double m, double k) {
  const Two fraction = logarithm_near_one(m);
  if (k == 0) return rounded(fraction);
  return rounded((two_product(k, kLn2.hi) + two_product(k, kLn2.lo)) + (fraction + k * kLn2Third));
}

constexpr int kFirstNode = 90, kNodes = 92;  // j/128 from √½ to √2
struct Node {
  double inverse;  // about 128/j
  Two log;         // -log of that
};
constexpr std::array<Node, kNodes> kLogarithms = [] {
  std::array<Node, kNodes> nodes{};
  for (int j = 0; j < kNodes; ++j) {
    const double inverse = 128.0 / (kFirstNode + j);
    nodes[static_cast<size_t>(j)] = {inverse, -logarithm_near_one(inverse)};
  }
  return nodes;
}();
// ln 2: 42 bits, so that multiples up to 2^11 are exact; the next 53
constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;

// log m = log(m·c) - log c, m·c = 1 + r, |r| < 2^-7
double logarithm_short_way(double m, double k) {
  const auto j = static_cast<size_t>(nearest(m * 128)) - kFirstNode;
  const Node& node = kLogarithms[j];
  const Two product = two_product(m, node.inverse);
  const Two r = quick_two_sum(product.hi - 1, product.lo);
  const double h = r.hi;
  const Two square = two_product(h, h);
  const double tail =
      1.0 / 3 -
      h * (1.0 / 4 -
           h * (1.0 / 5 -
                h * (1.0 / 6 - h * (1.0 / 7 - h * (1.0 / 8 - h * (1.0 / 9 - h * (1.0 / 10)))))));
  const Two first = two_sum(k * kLn2High, node.log.hi);
  const Two second = two_sum(first.hi, h);
  const Two third = two_sum(second.hi, -0.5 * square.hi);
  const double low = (first.lo + second.lo + third.lo) + (k * kLn2Low + node.log.lo) +
                     (r.lo - 0.5 * square.lo - h * r.lo) + h * h * h * tail;
  return if_certain(third.hi, low, std::fabs(third.hi) * 0x1p-64);
}

}  // namespace

double sine(double x) {
  if (!(std::fabs(x) <= kLargestAngle)) return kNan;
  if (std::fabs(x) < kTinyAngle) return x;
  const auto [rest, quadrant] = reduce(x);
  return of_quadrant(rest, quadrant);
}

double cosine(double x) {
  if (!(std::fabs(x) <= kLargestAngle)) return kNan;
  if (std::fabs(x) < kTinyAngle) return 1;
  const auto [rest, quadrant] = reduce(x);
  return of_quadrant(rest, (quadrant + 1) & 3);
}

// Near ±1 by the half angle: acos x = 2·asin √((1 − x)/2), where 1 − x is exact.
double arc_cosine(double x) {
  if (!(std::fabs(x) <= 1)) return kNan;
  const Two half_pi{kHalfPi[0], kHalfPi[1]};
  if (std::fabs(x) <= 0.5) {
    const Two arc = arc_sine({std::fabs(x), 0});
    return rounded(half_pi + (x < 0 ? arc : -arc));
  }
  const Two half = arc_sine(square_root({(1 - std::fabs(x)) / 2, 0})) * 2.0;
  return rounded(x > 0 ? half : half_pi * 2.0 + -half);
}

double exponential(double x) {
  if (x != x) return x;
  if (x > 710) return kInfinity;
  if (x < -746) return 0;
  // 1 + x + x²/2: at half an ulp above one, x² decides.
  if (std::fabs(x) <= 0x1p-53) return x == 0x1p-53 ? 1 + 0x1p-52 : 1 + x;
  const double quick = x > -708 && x < 709 ? exponential_short_way(x) : kNan;
  return quick == quick ? quick : exponential_long_way(x);
}

double logarithm(double x) {
  if (x == 0) return -kInfinity;
  if (!(x > 0)) return kNan;
  if (x == kInfinity) return x;
  const bool subnormal = x < std::numeric_limits<double>::min();
  const auto bits = std::bit_cast<uint64_t>(subnormal ? x * 0x1p54 : x);
  int k = static_cast<int>(bits >> 52) - 1023 - (subnormal ? 54 : 0);
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFF) | uint64_t{1023} << 52);
  if (m > 0x1.6a09e667f3bcdp+0) {  // √2
    m /= 2;
    ++k;
  }
  const double quick = logarithm_short_way(m, k);
  return quick == quick ? quick : logarithm_long_way(m, k);
}

}  // namespace hieron
