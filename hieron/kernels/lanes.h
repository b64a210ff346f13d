// One element of a conversion, written so that a loop around it becomes vector code: integer
// rounding, selects instead of branches, no instruction that flushes or truncates.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hieron/core/float_layout.h"
#include "hieron/kernels/isa.h"

namespace hieron {

// condition ? a : b by masks. With a plain conditional the compiler may move an operation that
// could raise a floating-point flag into one arm, and then finds control flow that it cannot turn
// into vectors.
HIERON_INLINE uint32_t choose(bool condition, uint32_t a, uint32_t b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}

HIERON_INLINE float choose(bool condition, float a, float b) {
  return std::bit_cast<float>(
      choose(condition, std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b)));
}

HIERON_INLINE double choose(bool condition, double a, double b) {
  const uint64_t mask = uint64_t{0} - static_cast<uint64_t>(condition);
  return std::bit_cast<double>((std::bit_cast<uint64_t>(a) & mask) |
                               (std::bit_cast<uint64_t>(b) & ~mask));
}

// Stored elements need not be aligned: a safetensors header may have any length.
template <class T>
HIERON_INLINE T load(const std::byte* data, size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
HIERON_INLINE void store(std::byte* data, size_t i, T value) {
  std::memcpy(data + i * sizeof(T), &value, sizeof(T));
}

HIERON_INLINE float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

HIERON_INLINE uint16_t f32_to_bf16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (u + 0x7FFF + (u >> 16 & 1)) >> 16;
  const uint32_t quiet = (u >> 16 & 0x8000) | 0x7FC0;
  return static_cast<uint16_t>(choose((u & 0x7FFFFFFF) > 0x7F800000, quiet, rounded));
}

HIERON_INLINE float f16_to_f32(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7FFFu;
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + ((127 - 15) << 23);
  const uint32_t non_finite = magnitude << 13 | 0x7F800000;
  // A subnormal is an integer times 2^-24; a conversion keeps f32 subnormals out of the pipeline.
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t finite = choose(magnitude < 0x0400, subnormal, normal);
  return std::bit_cast<float>(sign | choose(magnitude >= 0x7C00, non_finite, finite));
}

// f32 -> a format of at most 16 bits (F16, BF16, F8). All fields are the same for a whole loop.
struct Narrowing {
  explicit Narrowing(const FloatLayout& layout)
      : drop(23 - layout.mantissa_bits),
        rebias((layout.smallest_normal_exponent + 126) << 23),
        smallest_normal((layout.smallest_normal_exponent + 127) << 23),
        subnormal_magic(std::ldexp(1.0f, layout.smallest_normal_exponent + drop)),
        largest(static_cast<uint32_t>(layout.largest)),
        overflow(static_cast<uint32_t>(layout.overflow)),
        nan(static_cast<uint32_t>(layout.nan)),
        signed_zero(layout.non_finite == NonFinite::kNegativeZero ? 0 : ~0u),
        sign_shift(std::countr_zero(layout.sign)) {}

  HIERON_INLINE uint32_t operator()(float value) const {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint32_t a = u & 0x7FFFFFFF;
    const uint32_t odd = a >> drop & 1;
    const uint32_t normal = (a + ((1u << (drop - 1)) - 1) + odd - rebias) >> drop;
    // Adding a power of two whose last bit is the format's smallest step rounds to that step.
    const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + subnormal_magic) -
                               std::bit_cast<uint32_t>(subnormal_magic);
    const uint32_t finite = choose(a < smallest_normal, subnormal, normal);
    const uint32_t bounded = choose((a >= smallest_normal) & (finite > largest), overflow, finite);
    const uint32_t magnitude = choose(a > 0x7F800000, nan, bounded);
    const uint32_t sign = (u >> 31) << sign_shift;
    return magnitude | choose(magnitude == 0, sign & signed_zero, sign);
  }

  int drop;
  uint32_t rebias, smallest_normal;
  float subnormal_magic;
  uint32_t largest, overflow, nan;
  uint32_t signed_zero;  // all ones where -0 has a pattern
  int sign_shift;
};

// Rounds a double to the values of a format of at most 32 bits: same magnitudes, no upper end of
// the exponent range, the sign kept on zero. 1.5·2^52 quanta added and taken away again leave a
// multiple of the quantum, rounded to nearest even.
struct Quantiser {
  explicit Quantiser(const FloatLayout& layout)
      : smallest_normal(std::ldexp(1.0, layout.smallest_normal_exponent)),
        quantum_per_binade(std::ldexp(1.0, -layout.mantissa_bits)) {}

  // The power of two at or below |value|, at least the smallest normal number.
  HIERON_INLINE double binade(double value) const {
    const double power = std::bit_cast<double>(std::bit_cast<uint64_t>(value) & 0x7FF0000000000000);
    return choose(power > smallest_normal, power, smallest_normal);
  }
  HIERON_INLINE double quantum(double value) const { return binade(value) * quantum_per_binade; }
  HIERON_INLINE double operator()(double value) const {
    const double magic = quantum(value) * 0x1.8p52;
    const double rounded = std::copysign((value + magic) - magic, value);
    return choose(std::fabs(value) < 0x1p900, rounded, value);
  }

  double smallest_normal, quantum_per_binade;
};

}  // namespace hieron
