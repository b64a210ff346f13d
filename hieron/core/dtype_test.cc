#include "hieron/core/dtype.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace hieron {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// The formats that can be tried pattern by pattern.
std::vector<DTypeInfo> small_floats() {
  std::vector<DTypeInfo> small;
  for (const DTypeInfo& row : dtypes()) {
    if (row.format && row.bits <= 16) small.push_back(row);
  }
  return small;
}

bool is_signed(const DTypeInfo& row) { return row.format->non_finite != NonFinite::kScaleOnly; }

// The finite values >= 0 in ascending order; index = pattern.
std::vector<double> ascending(const DTypeInfo& row) {
  std::vector<double> values;
  const uint64_t patterns = uint64_t{1} << (row.bits - is_signed(row));
  for (uint64_t bits = 0; bits < patterns && !non_finite(row.dtype, bits); ++bits) {
    values.push_back(decode(row.dtype, bits));
  }
  return values;
}

class EverySmallFloat : public testing::TestWithParam<DTypeInfo> {};

INSTANTIATE_TEST_SUITE_P(DType, EverySmallFloat, testing::ValuesIn(small_floats()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(EverySmallFloat, PatternRoundTrips) {
  const DType dtype = GetParam().dtype;
  for (uint64_t bits = 0; bits < uint64_t{1} << GetParam().bits; ++bits) {
    const double value = decode(dtype, bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(non_finite(dtype, bits));
      EXPECT_TRUE(std::isnan(decode(dtype, encode(dtype, value)))) << bits;
    } else {
      EXPECT_EQ(encode(dtype, value), bits) << value;
      EXPECT_EQ(non_finite(dtype, bits), std::isinf(value)) << bits;
    }
  }
}

TEST_P(EverySmallFloat, PatternsAscendWithTheValue) {
  const std::vector<double> values = ascending(GetParam());
  for (size_t i = 1; i < values.size(); ++i) ASSERT_LT(values[i - 1], values[i]) << i;
}

TEST_P(EverySmallFloat, MidpointGoesToTheEvenNeighbourAndAHairBesideItToTheNearer) {
  const DType dtype = GetParam().dtype;
  const std::vector<double> values = ascending(GetParam());
  const uint64_t sign = is_signed(GetParam()) ? uint64_t{1} << (GetParam().bits - 1) : 0;
  const bool has_negative_zero = GetParam().format->non_finite != NonFinite::kNegativeZero;
  for (uint64_t bits = 0; bits + 1 < values.size(); ++bits) {
    const double midpoint = (values[bits] + values[bits + 1]) / 2;
    const uint64_t even = bits + (bits & 1);
    ASSERT_EQ(encode(dtype, midpoint), even) << midpoint;
    ASSERT_EQ(encode(dtype, std::nextafter(midpoint, 0.0)), bits) << midpoint;
    ASSERT_EQ(encode(dtype, std::nextafter(midpoint, kInfinity)), bits + 1) << midpoint;
    if (!sign) continue;
    const auto negative = [&](uint64_t magnitude) {
      return magnitude == 0 && !has_negative_zero ? 0 : magnitude | sign;
    };
    ASSERT_EQ(encode(dtype, -midpoint), negative(even)) << midpoint;
    ASSERT_EQ(encode(dtype, -std::nextafter(midpoint, 0.0)), negative(bits)) << midpoint;
    ASSERT_EQ(encode(dtype, -std::nextafter(midpoint, kInfinity)), negative(bits + 1)) << midpoint;
  }
}

TEST_P(EverySmallFloat, OverflowsWhereTheNextValueWouldBeNearer) {
  const DType dtype = GetParam().dtype;
  const std::vector<double> values = ascending(GetParam());
  const uint64_t largest = values.size() - 1;
  const double last = values[largest];
  // An unsigned power of two has one value per binade: the next one is twice the last.
  const double step = is_signed(GetParam()) ? last - values[largest - 1] : last;
  const double threshold = last + step / 2;
  const auto overflowed = [&](double value) {
    const double stored = decode(dtype, encode(dtype, value));
    switch (GetParam().format->non_finite) {
      case NonFinite::kIeee:
        return std::isinf(stored) && stored > 0;
      case NonFinite::kNone:
        return false;
      default:
        return std::isnan(stored);
    }
  };
  EXPECT_EQ(encode(dtype, std::nextafter(threshold, 0.0)), largest);
  if (GetParam().format->non_finite == NonFinite::kNone) {
    EXPECT_EQ(encode(dtype, 1e300), largest) << "saturates";
    EXPECT_EQ(encode(dtype, kInfinity), largest) << "saturates";
    return;
  }
  EXPECT_EQ(overflowed(threshold), largest % 2 == 1) << "a tie goes to even";
  EXPECT_TRUE(overflowed(std::nextafter(threshold, kInfinity)));
  EXPECT_TRUE(overflowed(1e300));
  EXPECT_TRUE(overflowed(kInfinity));
}

TEST(DType, TableIsInTheOrderOfSafetensorsAndItsNamesAreFound) {
  EXPECT_EQ(dtypes().size(), 22u);
  for (const DTypeInfo& row : dtypes()) {
    EXPECT_EQ(parse_dtype(row.name), row.dtype);
    EXPECT_EQ(info(row.dtype).name, row.name);
  }
  EXPECT_EQ(parse_dtype("BF17"), std::nullopt);
  EXPECT_EQ(parse_dtype("bf16"), std::nullopt);
}

// OCP 8-bit Floating Point Specification, revision 1.0, table 2.
TEST(DType, F8HasTheValuesOfTheOcpSpecification) {
  EXPECT_EQ(decode(DType::kF8E5M2, 0b0'11110'11), 57344);
  EXPECT_EQ(decode(DType::kF8E5M2, 0b0'00001'00), 0x1p-14);
  EXPECT_EQ(decode(DType::kF8E5M2, 0b0'00000'11), 0x1.8p-15);
  EXPECT_EQ(decode(DType::kF8E5M2, 0b0'00000'01), 0x1p-16);
  EXPECT_EQ(decode(DType::kF8E5M2, 0b1'11111'00), -kInfinity);
  EXPECT_EQ(decode(DType::kF8E4M3, 0b0'1111'110), 448);
  EXPECT_EQ(decode(DType::kF8E4M3, 0b0'0001'000), 0x1p-6);
  EXPECT_EQ(decode(DType::kF8E4M3, 0b0'0000'111), 0x1.cp-7);
  EXPECT_EQ(decode(DType::kF8E4M3, 0b0'0000'001), 0x1p-9);
  EXPECT_TRUE(std::isnan(decode(DType::kF8E4M3, 0x7F)));
  EXPECT_TRUE(std::isnan(decode(DType::kF8E4M3, 0xFF)));
}

// OCP Microscaling Formats (MX) Specification, version 1.0, §5.3 and §5.4.
TEST(DType, MicroscalingElementsHaveTheValuesOfTheOcpSpecification) {
  const std::vector<double> f4{0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (uint64_t bits = 0; bits < 8; ++bits) {
    EXPECT_EQ(decode(DType::kF4, bits), f4[bits]);
    EXPECT_EQ(decode(DType::kF4, bits | 8), -f4[bits]);
  }
  EXPECT_EQ(decode(DType::kF6E2M3, 0b0'11'111), 7.5);
  EXPECT_EQ(decode(DType::kF6E2M3, 0b0'00'001), 0.125);
  EXPECT_EQ(decode(DType::kF6E3M2, 0b0'111'11), 28);
  EXPECT_EQ(decode(DType::kF6E3M2, 0b0'000'01), 0.0625);
  EXPECT_EQ(decode(DType::kF8E8M0, 0), 0x1p-127);
  EXPECT_EQ(decode(DType::kF8E8M0, 127), 1);
  EXPECT_EQ(decode(DType::kF8E8M0, 254), 0x1p127);
  EXPECT_TRUE(std::isnan(decode(DType::kF8E8M0, 255)));
}

// Noune et al. 2022, "8-bit numerical formats for deep neural networks".
TEST(DType, FnuzHasOneNaNWhereMinusZeroWouldBe) {
  for (const DType dtype : {DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ}) {
    EXPECT_TRUE(std::isnan(decode(dtype, 0x80)));
    EXPECT_EQ(encode(dtype, kNaN), 0x80u);
    EXPECT_EQ(encode(dtype, -kNaN), 0x80u);
    EXPECT_EQ(encode(dtype, -kInfinity), 0x80u);
    EXPECT_EQ(encode(dtype, -0.0), 0u);
    EXPECT_EQ(encode(dtype, -1e-30), 0u);
  }
  EXPECT_EQ(decode(DType::kF8E4M3FNUZ, 0x7F), 240);
  EXPECT_EQ(decode(DType::kF8E5M2FNUZ, 0x7F), 57344);
  EXPECT_EQ(decode(DType::kF8E4M3FNUZ, 1), 0x1p-10);
  EXPECT_EQ(decode(DType::kF8E5M2FNUZ, 1), 0x1p-17);
}

TEST(DType, ScalesHaveNoSignAndNoZero) {
  EXPECT_EQ(encode(DType::kF8E8M0, -1), 0xFFu);
  EXPECT_EQ(encode(DType::kF8E8M0, kNaN), 0xFFu);
  EXPECT_EQ(encode(DType::kF8E8M0, 0.0), 0u);
  EXPECT_EQ(encode(DType::kF8E8M0, 0x1p-140), 0u);
  EXPECT_EQ(encode(DType::kF8E8M0, 0x1.7p-127), 0u);
}

TEST(DType, Bf16IsTheUpperHalfOfF32) {
  for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const float f32 = std::bit_cast<float>(bits << 16);
    if (std::isnan(f32)) continue;
    ASSERT_EQ(decode(DType::kBF16, bits), double{f32});
  }
}

TEST(DType, F8E5M2IsTheUpperHalfOfF16) {
  for (uint32_t bits = 0; bits < 1u << 8; ++bits) {
    const double f16 = decode(DType::kF16, bits << 8);
    if (std::isnan(f16)) continue;
    ASSERT_EQ(decode(DType::kF8E5M2, bits), f16);
  }
}

#if defined(__FLT16_MANT_DIG__) && defined(__clang__)
TEST(DType, F16IsTheCompilersHalf) {
  for (uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const auto half = std::bit_cast<_Float16>(static_cast<uint16_t>(bits));
    if (half != half) continue;
    ASSERT_EQ(decode(DType::kF16, bits), static_cast<double>(half));
  }
}
RC_GTEST_PROP(DType, F16RoundsAsTheCompilersHalf, (float x)) {
  if (x == x) {
    RC_ASSERT(encode(DType::kF16, x) == std::bit_cast<uint16_t>(static_cast<_Float16>(x)));
  }
}
#endif

// IEEE 754-2019 binary16, Wikipedia's table "Half precision examples".
TEST(DType, F16HasTheValuesOfItsTable) {
  EXPECT_EQ(decode(DType::kF16, 0x0001), 0x1p-24);
  EXPECT_EQ(decode(DType::kF16, 0x03FF), 0x1.ff8p-15);
  EXPECT_EQ(decode(DType::kF16, 0x0400), 0x1p-14);
  EXPECT_EQ(decode(DType::kF16, 0x3555), 0.333251953125);
  EXPECT_EQ(decode(DType::kF16, 0x3BFF), 0.99951171875);
  EXPECT_EQ(decode(DType::kF16, 0x3C01), 1.0009765625);
  EXPECT_EQ(decode(DType::kF16, 0x7BFF), 65504);
  EXPECT_EQ(encode(DType::kF16, 65519.99), 0x7BFFu);
  EXPECT_EQ(encode(DType::kF16, 65520), 0x7C00u);
}

RC_GTEST_PROP(DType, F32DecodesAndRoundsAsTheHardware, (uint32_t bits, uint64_t wide)) {
  const float narrow = std::bit_cast<float>(bits);
  if (narrow == narrow) RC_ASSERT(decode(DType::kF32, bits) == double{narrow});
  // Doubles in and around the range of f32, subnormals and overflow included.
  const int exponent = static_cast<int>(wide % 300) - 160;
  const double value =
      std::ldexp(1.0 + static_cast<double>(wide >> 11) * 0x1p-53, exponent) * (bits & 1 ? -1 : 1);
  RC_ASSERT(encode(DType::kF32, value) == std::bit_cast<uint32_t>(static_cast<float>(value)));
}

RC_GTEST_PROP(DType, F32MidpointsGoToEven, (uint32_t bits)) {
  const uint32_t magnitude = bits % 0x7F7FFFFF;
  const double low = std::bit_cast<float>(magnitude), high = std::bit_cast<float>(magnitude + 1);
  const double midpoint = (low + high) / 2;
  RC_ASSERT(encode(DType::kF32, midpoint) == magnitude + (magnitude & 1));
  RC_ASSERT(encode(DType::kF32, std::nextafter(midpoint, 0.0)) == magnitude);
  RC_ASSERT(encode(DType::kF32, std::nextafter(midpoint, kInfinity)) == magnitude + 1);
}

RC_GTEST_PROP(DType, F64IsTheDoubleItself, (uint64_t bits)) {
  const double value = std::bit_cast<double>(bits);
  if (value != value) return;
  RC_ASSERT(std::bit_cast<uint64_t>(decode(DType::kF64, bits)) == bits);
  RC_ASSERT(encode(DType::kF64, value) == bits);
}

TEST(DType, F64KeepsItsEdges) {
  for (const double value : {0.0, -0.0, 0x1p-1074, 0x1p-1022, 0x1.fffffffffffffp-1023,
                             std::numeric_limits<double>::max(), kInfinity, -kInfinity}) {
    EXPECT_EQ(encode(DType::kF64, value), std::bit_cast<uint64_t>(value));
    EXPECT_EQ(std::bit_cast<uint64_t>(decode(DType::kF64, std::bit_cast<uint64_t>(value))),
              std::bit_cast<uint64_t>(value));
  }
}

TEST(DType, NaNBecomesTheQuietNaNOfItsSign) {
  EXPECT_EQ(encode(DType::kBF16, kNaN), 0x7FC0u);
  EXPECT_EQ(encode(DType::kBF16, -kNaN), 0xFFC0u);
  EXPECT_EQ(encode(DType::kF16, kNaN), 0x7E00u);
  EXPECT_EQ(encode(DType::kF32, kNaN), 0x7FC00000u);
  EXPECT_EQ(encode(DType::kF64, kNaN), 0x7FF8000000000000u);
  EXPECT_EQ(encode(DType::kF8E4M3, kNaN), 0x7Fu);
  EXPECT_EQ(encode(DType::kF8E5M2, -kNaN), 0xFEu);
  EXPECT_TRUE(std::isnan(decode(DType::kBF16, 0x7F81)));
  EXPECT_TRUE(non_finite(DType::kF32, 0x7F800001));
}

TEST(DType, IntegersAreTheirValue) {
  EXPECT_EQ(decode(DType::kI8, 0x80), -128);
  EXPECT_EQ(decode(DType::kU8, 0x80), 128);
  EXPECT_EQ(decode(DType::kI16, 0xFFFF), -1);
  EXPECT_EQ(decode(DType::kI32, 0x80000000), -2147483648.0);
  EXPECT_EQ(decode(DType::kU32, 0xFFFFFFFF), 4294967295.0);
  EXPECT_EQ(decode(DType::kI64, 0xFFFFFFFFFFFFFFFF), -1);
  EXPECT_EQ(decode(DType::kU64, 0xFFFFFFFFFFFFFFFF), 0x1p64);
  EXPECT_EQ(decode(DType::kBool, 1), 1);
  EXPECT_TRUE(std::isnan(decode(DType::kC64, 0)));
  EXPECT_FALSE(non_finite(DType::kI32, 0x7F800001));
}

}  // namespace
}  // namespace hieron
