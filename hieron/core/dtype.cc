#include "hieron/core/dtype.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "hieron/core/float_layout.h"

namespace hieron {
namespace {

constexpr bool kBlend = true;  // the column `blend`
constexpr bool kNotBlend = false;

constexpr std::array kTable = std::to_array<DTypeInfo>({
    {DType::kBool, "BOOL", 8, {}, kNotBlend},
    {DType::kF4, "F4", 4, FloatFormat{2, 1, 1, NonFinite::kNone}, kNotBlend},
    {DType::kF6E2M3, "F6_E2M3", 6, FloatFormat{2, 3, 1, NonFinite::kNone}, kNotBlend},
    {DType::kF6E3M2, "F6_E3M2", 6, FloatFormat{3, 2, 3, NonFinite::kNone}, kNotBlend},
    {DType::kU8, "U8", 8, {}, kNotBlend},
    {DType::kI8, "I8", 8, {}, kNotBlend},
    {DType::kF8E5M2, "F8_E5M2", 8, FloatFormat{5, 2, 15, NonFinite::kIeee}, kBlend},
    {DType::kF8E4M3, "F8_E4M3", 8, FloatFormat{4, 3, 7, NonFinite::kNanOnly}, kBlend},
    {DType::kF8E8M0, "F8_E8M0", 8, FloatFormat{8, 0, 127, NonFinite::kScaleOnly}, kNotBlend},
    {DType::kF8E4M3FNUZ, "F8_E4M3FNUZ", 8, FloatFormat{4, 3, 8, NonFinite::kNegativeZero}, kBlend},
    {DType::kF8E5M2FNUZ, "F8_E5M2FNUZ", 8, FloatFormat{5, 2, 16, NonFinite::kNegativeZero}, kBlend},
    {DType::kI16, "I16", 16, {}, kNotBlend},
    {DType::kU16, "U16", 16, {}, kNotBlend},
    {DType::kF16, "F16", 16, FloatFormat{5, 10, 15, NonFinite::kIeee}, kBlend},
    {DType::kBF16, "BF16", 16, FloatFormat{8, 7, 127, NonFinite::kIeee}, kBlend},
    {DType::kI32, "I32", 32, {}, kNotBlend},
    {DType::kU32, "U32", 32, {}, kNotBlend},
    {DType::kF32, "F32", 32, FloatFormat{8, 23, 127, NonFinite::kIeee}, kBlend},
    {DType::kC64, "C64", 64, {}, kNotBlend},
    {DType::kF64, "F64", 64, FloatFormat{11, 52, 1023, NonFinite::kIeee}, kBlend},
    {DType::kI64, "I64", 64, {}, kNotBlend},
    {DType::kU64, "U64", 64, {}, kNotBlend},
});

// info() indexes the table by the enum's value.
static_assert([] {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].dtype) != i) return false;
  }
  return true;
}());

constexpr FloatLayout layout_of(const FloatFormat& format) {
  const int exponent_bits = format.exponent_bits, mantissa_bits = format.mantissa_bits;
  const uint64_t all_ones = (uint64_t{1} << (exponent_bits + mantissa_bits)) - 1;
  const uint64_t sign = all_ones + 1;
  FloatLayout layout{.non_finite = format.non_finite,
                     .mantissa_bits = mantissa_bits,
                     .smallest_normal_exponent = 1 - format.bias,
                     .sign = sign,
                     .largest = all_ones,
                     .overflow = all_ones,
                     .nan = all_ones};
  switch (format.non_finite) {
    case NonFinite::kIeee:
      layout.overflow = all_ones >> mantissa_bits << mantissa_bits;
      layout.largest = layout.overflow - 1;
      layout.nan = layout.overflow | uint64_t{1} << (mantissa_bits - 1);
      break;
    case NonFinite::kNanOnly:
      layout.largest = all_ones - 1;
      break;
    case NonFinite::kNegativeZero:
      layout.overflow = layout.nan = sign;
      break;
    case NonFinite::kNone:  // no pattern says NaN; the largest number is the least quiet substitute
      break;
    case NonFinite::kScaleOnly:
      layout.smallest_normal_exponent = -format.bias;
      layout.sign = 0;
      layout.largest = all_ones - 1;
      break;
  }
  return layout;
}

constexpr auto kLayouts = [] {
  std::array<FloatLayout, kTable.size()> layouts{};
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (kTable[i].format) layouts[i] = layout_of(*kTable[i].format);
  }
  return layouts;
}();

constexpr int kDoubleMantissa = 52;
constexpr int kDoubleBias = 1023;

double decode_integer(const DTypeInfo& row, uint64_t bits) {
  if (row.dtype == DType::kC64) return std::numeric_limits<double>::quiet_NaN();
  if (row.dtype == DType::kBool) return bits != 0;
  if (row.name[0] == 'U') return static_cast<double>(bits);
  const int unused = 64 - row.bits;
  return static_cast<double>(static_cast<int64_t>(bits << unused) >> unused);  // sign extension
}

double decode_float(const FloatLayout& layout, uint64_t bits) {
  const bool negative = bits & layout.sign;
  const uint64_t magnitude = bits & ~layout.sign;
  if (layout.is_nan(bits)) {
    return std::copysign(std::numeric_limits<double>::quiet_NaN(), negative ? -1.0 : 1.0);
  }
  const double value = magnitude <= layout.largest ? layout.value(magnitude).as_double()
                                                   : std::numeric_limits<double>::infinity();
  return negative ? -value : value;
}

// The magnitude pattern nearest to `value` >= 0 (ties to even), as if exponents had no upper end.
// `value` is finite. Patterns grow with the value, so a carry out of the mantissa is the next
// exponent.
uint64_t nearest_magnitude(const FloatLayout& layout, double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const int stored = static_cast<int>(bits >> kDoubleMantissa);
  const int exponent = std::max(stored, 1) - kDoubleBias;  // of the significand's top bit
  uint64_t significand = bits & ((uint64_t{1} << kDoubleMantissa) - 1);
  if (stored) significand |= uint64_t{1} << kDoubleMantissa;

  const int lowest = layout.smallest_normal_exponent;
  const int drop = kDoubleMantissa - layout.mantissa_bits + std::max(0, lowest - exponent);
  if (drop > kDoubleMantissa + 1) return 0;  // below half of the smallest step
  uint64_t pattern = significand >> drop;
  const uint64_t twice_rest = 2 * (significand - (pattern << drop));
  const uint64_t step = uint64_t{1} << drop;
  if (layout.non_finite == NonFinite::kScaleOnly)
    pattern -= 1;  // exponent field 0 is a normal number
  if (exponent > lowest) pattern += uint64_t(exponent - lowest) << layout.mantissa_bits;
  return pattern + (twice_rest > step || (twice_rest == step && (pattern & 1)));
}

}  // namespace

std::span<const DTypeInfo> dtypes() { return kTable; }

bool decodable(DType dtype) {
  const int bits = info(dtype).bits;
  return bits >= 8 && bits <= 64 && dtype != DType::kC64;
}

const DTypeInfo& info(DType dtype) { return kTable[static_cast<size_t>(dtype)]; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeInfo& row : kTable) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

const FloatLayout& float_layout(DType dtype) {
  assert(info(dtype).format && "only floating-point formats have a layout");
  return kLayouts[static_cast<size_t>(dtype)];
}

double decode(DType dtype, uint64_t bits) {
  const DTypeInfo& row = info(dtype);
  return row.format ? decode_float(float_layout(dtype), bits) : decode_integer(row, bits);
}

uint64_t encode(DType dtype, double value) {
  const FloatLayout& layout = float_layout(dtype);
  const bool negative = std::signbit(value);
  if (layout.non_finite == NonFinite::kScaleOnly) {
    // No sign and no zero: what is too small becomes the smallest scale, what is negative is NaN.
    if (negative && value != 0) return layout.nan;
    if (value < layout.smallest()) return 0;
  }
  if (std::isnan(value)) return layout.with_sign(layout.nan, negative);
  if (std::isinf(value)) return layout.with_sign(layout.overflow, negative);
  const uint64_t magnitude = nearest_magnitude(layout, std::fabs(value));
  return layout.with_sign(magnitude <= layout.largest ? magnitude : layout.overflow, negative);
}

bool non_finite(DType dtype, uint64_t bits) {
  if (!info(dtype).format) return false;
  const FloatLayout& layout = float_layout(dtype);
  return layout.is_nan(bits) || (bits & ~layout.sign) > layout.largest;
}

}  // namespace hieron
