// Storage formats as a table: one row per format. Adding a format adds a row, not a switch.
//
// The formats are those of safetensors, in its enum order. Bit patterns travel as uint64_t with the
// value in the low bits; F4 and F6 patterns are one element, unpacked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace hieron {

enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

// What the topmost exponent and the sign of zero mean in a floating-point format.
enum class NonFinite : uint8_t {
  kIeee,          // topmost exponent: infinities and NaN (F64, F32, F16, BF16, F8_E5M2)
  kNanOnly,       // only S.1…1.1…1 is NaN, no infinities; overflow rounds to NaN (F8_E4M3)
  kNegativeZero,  // the pattern of -0 is the only NaN; overflow rounds to NaN (…FNUZ)
  kNone,          // every pattern is finite; overflow saturates, NaN too (F4, F6)
  kScaleOnly,     // unsigned power of two, 0xFF is NaN (F8_E8M0)
};

struct FloatFormat {
  int exponent_bits, mantissa_bits, bias;
  NonFinite non_finite;
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;              // the safetensors name, e.g. "BF16"
  int bits;                           // per element
  std::optional<FloatFormat> format;  // floats only
  bool blend;  // can be an end of a blend test: its values are weights, not codes or counters
};

std::span<const DTypeInfo> dtypes();
const DTypeInfo& info(DType dtype);

// Is each element a real number in whole bytes of its own?
bool decodable(DType dtype);
std::optional<DType> parse_dtype(std::string_view name);

// The value of one bit pattern, exact for every format of 53 significant bits or fewer. NaN, ±inf
// and -0 keep their meaning. Integers decode as their value (U64/I64 above 2^53 round); C64 and
// unknown: NaN.
double decode(DType dtype, uint64_t bits);

// Round to nearest, ties to even; overflow as the format says; NaN becomes the format's quiet NaN
// with the sign kept where there is one. Floats only.
uint64_t encode(DType dtype, double value);

// Is this pattern NaN or an infinity?
bool non_finite(DType dtype, uint64_t bits);

}  // namespace hieron
