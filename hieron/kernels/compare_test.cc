#include "hieron/kernels/compare.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <random>
#include <vector>

#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

class Widths : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Compare, Widths, testing::Values(1, 2, 4, 8));

TEST_P(Widths, CountsEqualElementsAndFindsTheFirstOther) {
  const size_t width = static_cast<size_t>(GetParam());
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const size_t count = 1 + random() % 20000;
    std::vector<std::byte> a(count * width);
    for (std::byte& byte : a) byte = static_cast<std::byte>(random());
    std::vector<std::byte> b = a;
    std::vector<bool> changed(count);
    for (uint64_t n = random() % 5; n > 0; --n) {
      const size_t i = random() % count;
      changed[i] = true;
      b[i * width + random() % width] = ~a[i * width];
      if (std::equal(&a[i * width], &a[i * width] + width, &b[i * width])) changed[i] = false;
    }
    const auto first = std::find(changed.begin(), changed.end(), true);
    const Difference found = compare(a.data(), b.data(), count, GetParam());
    ASSERT_EQ(found.equal,
              count - static_cast<size_t>(std::count(changed.begin(), changed.end(), true)));
    ASSERT_EQ(found.first_difference, first == changed.end() ? -1 : first - changed.begin());
  }
}

TEST_P(Widths, CountsWhenNothingIsEqual) {
  const size_t count = 100000, bytes = count * static_cast<size_t>(GetParam());
  const std::vector<std::byte> a(bytes, std::byte{1}), b(bytes, std::byte{2});
  const Difference found = compare(a.data(), b.data(), count, GetParam());
  EXPECT_EQ(found.equal, 0u);
  EXPECT_EQ(found.first_difference, 0);
}

TEST(Compare, ZerosOfOppositeSignDiffer) {
  const float a = 0.0f, b = -0.0f;
  const Difference found =
      compare(reinterpret_cast<const std::byte*>(&a), reinterpret_cast<const std::byte*>(&b), 1, 4);
  EXPECT_EQ(found.equal, 0u);
}

TEST(Compare, NothingIsEqualToNothing) {
  const Difference found = compare(nullptr, nullptr, 0, 2);
  EXPECT_EQ(found.equal, 0u);
  EXPECT_EQ(found.first_difference, -1);
}

TEST(CountNonFinite, AgreesWithTheTablePatternByPattern) {
  for (const DTypeInfo& row : dtypes()) {
    if (row.bits % 8) continue;
    const size_t count = row.bits == 8 ? 256 : 65536;
    std::vector<std::byte> data(count * static_cast<size_t>(row.bits) / 8);
    uint64_t expected = 0;
    std::mt19937_64 random(1);
    for (size_t i = 0; i < count; ++i) {
      // Wide formats: random patterns whose upper half runs through everything.
      const uint64_t bits = row.bits <= 16 ? i : i << (row.bits - 16) | random() >> (80 - row.bits);
      store_bits(row.dtype, data.data(), i, bits);
      expected += non_finite(row.dtype, bits);
    }
    EXPECT_EQ(count_non_finite(row.dtype, data.data(), count), expected) << row.name;
  }
}

}  // namespace
}  // namespace hieron
