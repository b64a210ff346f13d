#include "hieron/core/cell.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace hieron {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<DTypeInfo> small_floats() {
  std::vector<DTypeInfo> small;
  for (const DTypeInfo& row : dtypes()) {
    if (row.format && row.bits <= 16) small.push_back(row);
  }
  return small;
}

class EveryCell : public testing::TestWithParam<DTypeInfo> {};

INSTANTIATE_TEST_SUITE_P(DType, EveryCell, testing::ValuesIn(small_floats()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_P(EveryCell, ContainsItsValueAndNoOtherPatternHasOne) {
  const DType dtype = GetParam().dtype;
  for (uint64_t bits = 0; bits < uint64_t{1} << GetParam().bits; ++bits) {
    const auto found = cell(dtype, bits);
    ASSERT_EQ(found.has_value(), !non_finite(dtype, bits)) << bits;
    if (!found) continue;
    ASSERT_TRUE(found->contains(decode(dtype, bits))) << bits;
    ASSERT_GT(found->width(), 0) << bits;
  }
}

// What is in the cell is exactly what `encode` stores as this pattern.
TEST_P(EveryCell, HoldsWhatRoundsToItsValueAndNothingElse) {
  const DType dtype = GetParam().dtype;
  for (uint64_t bits = 0; bits < uint64_t{1} << GetParam().bits; ++bits) {
    const auto found = cell(dtype, bits);
    if (!found) continue;
    const double value = decode(dtype, bits);
    for (const double end : {found->low, found->high}) {
      if (std::isinf(end)) continue;
      for (const double x :
           {end, std::nextafter(end, -kInfinity), std::nextafter(end, kInfinity)}) {
        const double stored = decode(dtype, encode(dtype, x));
        ASSERT_EQ(found->contains(x), stored == value) << bits << " " << x;
      }
    }
  }
}

TEST_P(EveryCell, TilesTheLineWithItsNeighbours) {
  const DType dtype = GetParam().dtype;
  for (uint64_t bits = 0; bits < uint64_t{1} << GetParam().bits; ++bits) {
    const auto here = cell(dtype, bits);
    if (!here || decode(dtype, bits) < 0 || !cell(dtype, bits + 1)) continue;
    const auto above = cell(dtype, bits + 1);
    if (!(decode(dtype, bits + 1) > decode(dtype, bits))) continue;  // the last before the sign
    ASSERT_EQ(here->high, above->low) << bits;
    ASSERT_NE(here->closed, above->closed) << bits;
    ASSERT_EQ(here->high, (decode(dtype, bits) + decode(dtype, bits + 1)) / 2) << bits;
  }
}

TEST(Cell, LowerGapHalvesAtPowersOfTwo) {
  const auto one = cell(DType::kBF16, 0x3F80);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->low, 1 - 0x1p-9);
  EXPECT_EQ(one->high, 1 + 0x1p-8);
  EXPECT_TRUE(one->closed);
  const auto minus_one = cell(DType::kBF16, 0xBF80);
  EXPECT_EQ(minus_one->low, -1 - 0x1p-8);
  EXPECT_EQ(minus_one->high, -1 + 0x1p-9);
}

TEST(Cell, ZerosShareOneSymmetricCell) {
  for (const uint64_t zero : {0x0000, 0x8000}) {
    const auto found = cell(DType::kF16, zero);
    EXPECT_EQ(found->low, -0x1p-25);
    EXPECT_EQ(found->high, 0x1p-25);
    EXPECT_TRUE(found->closed);
  }
}

TEST(Cell, SubnormalsAreEvenlySpaced) {
  const auto found = cell(DType::kF16, 0x0001);
  EXPECT_EQ(found->low, 0x1p-25);
  EXPECT_EQ(found->high, 0x1.8p-24);
  EXPECT_FALSE(found->closed);
}

TEST(Cell, LargestFiniteEndsWhereRoundingOverflows) {
  EXPECT_EQ(cell(DType::kF16, 0x7BFF)->high, 65520);
  EXPECT_EQ(cell(DType::kF8E4M3, 0x7E)->high, 464);
  EXPECT_EQ(cell(DType::kF8E4M3FNUZ, 0x7F)->high, 248);
  EXPECT_EQ(cell(DType::kF32, 0x7F7FFFFF)->high, 0x1.ffffffp127);
  EXPECT_EQ(cell(DType::kF4, 0x7)->high, kInfinity) << "F4 saturates";
}

TEST(Cell, NonFiniteAndNonFloatsHaveNone) {
  EXPECT_FALSE(cell(DType::kBF16, 0x7F80));
  EXPECT_FALSE(cell(DType::kBF16, 0xFFC0));
  EXPECT_FALSE(cell(DType::kF64, std::bit_cast<uint64_t>(kInfinity)));
  EXPECT_FALSE(cell(DType::kI32, 7));
  EXPECT_FALSE(cell(DType::kC64, 7));
}

TEST(Cell, SmallestScaleReachesDownToZero) {
  const auto found = cell(DType::kF8E8M0, 0);
  EXPECT_EQ(found->low, 0);
  EXPECT_EQ(found->high, 0x1.8p-127);
}

RC_GTEST_PROP(Cell, OfF32HoldsWhatTheHardwareRoundsToIt, (uint32_t bits)) {
  const float value = std::bit_cast<float>(bits);
  const auto found = cell(DType::kF32, bits);
  RC_ASSERT(found.has_value() == std::isfinite(value));
  if (!found) return;
  RC_ASSERT(found->contains(value));
  for (const double end : {found->low, found->high}) {
    for (const double x : {end, std::nextafter(end, -kInfinity), std::nextafter(end, kInfinity)}) {
      RC_ASSERT(found->contains(x) == (static_cast<float>(x) == value));
    }
  }
}

RC_GTEST_PROP(Cell, OfF64IsRoundedOutwardToTheNeighbours, (uint64_t bits)) {
  const double value = std::bit_cast<double>(bits);
  const auto found = cell(DType::kF64, bits);
  RC_ASSERT(found.has_value() == std::isfinite(value));
  if (!found) return;
  RC_ASSERT(found->low == std::nextafter(value, -kInfinity));
  RC_ASSERT(found->high == std::nextafter(value, kInfinity));
}

}  // namespace
}  // namespace hieron
