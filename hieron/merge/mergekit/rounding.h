// Arithmetic as torch does it on a CPU in a narrow dtype: every operation in f32, its result
// rounded to the dtype.
//
// Values of the dtype travel as f32, which holds each of them exactly.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/kernels/arithmetic.h"

namespace hieron::mergekit {

using Values = std::vector<float>;  // of one tensor

// Round to nearest even to BF16, F16 or F32, kept as f32. A NaN stays the NaN that it is.
class Rounding {
 public:
  explicit Rounding(DType dtype) : dtype_(dtype) {}

  DType dtype() const { return dtype_; }

  float operator()(float x) const {
    if (dtype_ == DType::kF32) return x;
    return dtype_ == DType::kBF16 ? to_bf16(x) : to_f16(x);
  }
  // A number of the recipe, put into a tensor of the dtype: rounded from f64 by way of f32.
  float operator()(double x) const { return (*this)(static_cast<float>(x)); }

 private:
  static float to_bf16(float x) {
    uint32_t bits = std::bit_cast<uint32_t>(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return x;
    bits += 0x7FFF + (bits >> 16 & 1);
    return std::bit_cast<float>(bits & 0xFFFF0000);
  }

  static float to_f16(float x) {
    uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint32_t magnitude = bits & 0x7FFFFFFF;
    if (magnitude >= 0x7F800000) return x;
    if (magnitude >= 0x477FF000) return std::copysign(HUGE_VALF, x);  // 65520 and above
    if (magnitude < 0x38800000) {  // below 2^-14 the step is 2^-24, which is that of f32 at 0.5
      return std::copysign(std::abs(x) + 0.5f - 0.5f, x);
    }
    bits += 0xFFF + (bits >> 13 & 1);
    return std::bit_cast<float>(bits & 0xFFFFE000);
  }

  DType dtype_;
};

// The operand's first n values.
Values values_of(const Operand& operand, size_t n);

// Stores values that are exact in `dtype`. A NaN of BF16 becomes all ones, as torch's AVX-512
// conversion writes it.
void store_values(DType dtype, std::span<const float> values, std::byte* out);

}  // namespace hieron::mergekit
