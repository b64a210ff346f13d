#include "hieron/merge/mergekit/torch_softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "hieron/merge/mergekit/elementary.h"

namespace hieron::mergekit {
namespace {

constexpr size_t kLanes = 16;

float fold(std::array<float, kLanes> lane) {
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

float total_of(std::span<const float> terms, DType dtype) {
  const size_t n = terms.size();
  const size_t in_lanes = dtype == DType::kF32 && n > kLanes ? n : n - n % kLanes;
  std::array<float, kLanes> lane{};
  for (size_t i = 0; i < in_lanes; ++i) lane[i % kLanes] += terms[i];
  const auto rest = terms.subspan(in_lanes);
  return std::accumulate(rest.begin(), rest.end(), fold(lane));
}

// x = m·2^n with m in [2/3, 4/3).
struct Scaled {
  float m;
  int32_t n;
};

Scaled scaled(float x) {
  constexpr uint32_t kTwoThirds = 0x3F2AAAAB, kMantissa = 0x007FFFFF;
  const uint32_t above = std::bit_cast<uint32_t>(x) - kTwoThirds;
  return {std::bit_cast<float>((above & kMantissa) + kTwoThirds),
          std::bit_cast<int32_t>(above) >> 23};
}

// MKL is closed. This was found from its values alone: the least-squares polynomial through those
// of [2/3, 4/3) has these coefficients but for their last bits, a search over those and over the
// order of the operations left one answer, and under it all 2,130,706,432 positive normal numbers
// have MKL's logarithm.
float mkl_log(float x) {
  constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.42860677e-06f;
  // Of (ln(1 + r) − r)/r², highest power first.
  constexpr std::array kTerms{-0.12891686f,  0.139844373f, -0.121842608f,
                              0.140058696f,  -0.16680488f, 0.200104058f,
                              -0.249997973f, 0.333332151f, -0.5f};
  const auto [m, n] = scaled(x);
  const float r = m - 1, twos = static_cast<float>(n);
  float p = kTerms[0];
  for (size_t i = 1; i < kTerms.size(); ++i) p = p * r + kTerms[i];
  return twos * kLn2High + (twos * kLn2Low + (r + p * r * r));
}

}  // namespace

float sleef_exp(float x) {
  constexpr float kLog2E = 1.442695040888963407f;
  constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.428606765330187045e-06f;
  // Of (e^s − 1 − s)/s², highest power first.
  constexpr std::array kTerms{0.000198527617612853646278381f, 0.00139304355252534151077271f,
                              0.00833336077630519866943359f,  0.0416664853692054748535156f,
                              0.166666671633720397949219f,    0.5f};
  if (std::isnan(x)) return x;
  if (x < -104) return 0;
  if (x > 104) return HUGE_VALF;
  const float twos = std::nearbyint(x * kLog2E);
  const float s = std::fma(twos, -kLn2Low, std::fma(twos, -kLn2High, x));
  float u = kTerms[0];
  for (size_t i = 1; i < kTerms.size(); ++i) u = std::fma(u, s, kTerms[i]);
  return std::ldexp(1 + std::fma(s * s, u, s), static_cast<int>(twos));
}

float torch_log(float x, DType dtype) {
  if (!(x > 0)) return x == 0 ? -HUGE_VALF : std::numeric_limits<float>::quiet_NaN();
  if (std::isinf(x)) return x;
  if (dtype == DType::kF32 && std::isnormal(x)) return mkl_log(x);
  return static_cast<float>(logarithm(static_cast<double>(x)));
}

void softmax(std::span<float> line, DType dtype) {
  if (line.empty()) return;
  const float largest = std::ranges::max(line);
  const size_t whole = line.size() - line.size() % kLanes;
  const size_t by_sleef = dtype == DType::kF32 ? line.size() : whole;
  for (size_t i = 0; i < line.size(); ++i) {
    const float x = line[i] - largest;
    line[i] = i < by_sleef ? sleef_exp(x) : static_cast<float>(exponential(static_cast<double>(x)));
  }
  const float factor = 1 / total_of(line, dtype);
  for (float& x : line) x *= factor;
}

}  // namespace hieron::mergekit
