#include "hieron/kernels/softmax_divergence.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "hieron/kernels/isa.h"

namespace hieron {
namespace {

constexpr size_t kLanes = 8;

// exp(x) for x <= 0: 2^k·exp(r), |r| <= ln 2 / 2, by its Taylor series to r^13. Below -700: 0.
HIERON_INLINE double exp_of_negative(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
  constexpr double kShift = 0x1.8p52;  // adding it rounds to an integer
  const double bounded = x < -700 ? -700 : x;
  const double shifted = bounded * kLog2E + kShift;
  const double k = shifted - kShift;
  const double r = (bounded - k * kLn2High) - k * kLn2Low;
  double sum = 1.0 / 6227020800.0;
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  // The low bits of `shifted` are k; as an exponent they scale the sum.
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  return x < -700 ? 0 : sum * std::bit_cast<double>(scale);
}

// log(v) for normal v > 0: v = m·2^e, m in [√½, √2), log m = 2·artanh((m − 1)/(m + 1)).
HIERON_INLINE double log_of_positive(double v) {
  constexpr double kLn2 = 0.6931471805599453;
  const uint64_t bits = std::bit_cast<uint64_t>(v) + (0x3FF0000000000000 - 0x3FE6A09E667F3BCD);
  const auto exponent = static_cast<int32_t>(static_cast<uint32_t>(bits >> 52)) - 1023;
  const double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD);
  const double s = (m - 1) / (m + 1), z = s * s;
  double sum = 1.0 / 23;
  for (int n = 21; n >= 1; n -= 2) sum = sum * z + 1.0 / n;
  return 2 * s * sum + static_cast<double>(exponent) * kLn2;
}

HIERON_INLINE double add_lanes(const std::array<double, kLanes>& lane) {
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

struct Exponentials {
  HIERON_INLINE void operator()(const double* __restrict x, double largest, double* __restrict out,
                                size_t n, double* total) const {
    for (size_t i = 0; i < n; ++i) out[i] = exp_of_negative(x[i] - largest);
    std::array<double, kLanes> lane{};
    for (size_t i = 0; i < n; ++i) lane[i % kLanes] += out[i];
    *total = add_lanes(lane);
  }
};

struct Divergence {
  HIERON_INLINE void operator()(double* __restrict p, const double* __restrict q, double p_sum,
                                double q_sum, double epsilon, size_t n, double* total) const {
    for (size_t i = 0; i < n; ++i) {
      const double a = p[i] / p_sum + epsilon, b = q[i] / q_sum + epsilon;
      p[i] = a * log_of_positive(a / b);
    }
    std::array<double, kLanes> lane{};
    for (size_t i = 0; i < n; ++i) lane[i % kLanes] += p[i];
    *total = add_lanes(lane);
  }
};

}  // namespace

double softmax_divergence(std::span<const double> x, std::span<const double> y, double epsilon,
                          std::vector<double>& scratch) {
  const size_t n = x.size();
  if (n == 0) return 0;
  scratch.resize(std::max(scratch.size(), 2 * n));
  double *p = scratch.data(), *q = p + n;
  double p_sum = 0, q_sum = 0, total = 0;
  const Isa isa = best_isa();
  run(isa, Exponentials{}, x.data(), *std::ranges::max_element(x), p, n, &p_sum);
  run(isa, Exponentials{}, y.data(), *std::ranges::max_element(y), q, n, &q_sum);
  run(isa, Divergence{}, p, static_cast<const double*>(q), p_sum, q_sum, epsilon, n, &total);
  return total;
}

}  // namespace hieron
