#include "hieron/core/prf.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "hieron/core/philox.h"

namespace hieron {
namespace {

using Words = std::array<uint32_t, 4>;

// Random123 1.14, tests/kat_vectors, philox4x32 10.
TEST(Philox, GivesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Seed, HexIsRightAligned) {
  const auto seed = Seed::from_hex("abc");
  ASSERT_TRUE(seed);
  EXPECT_EQ(seed->hex(), std::string(61, '0') + "abc");
  EXPECT_EQ(Seed::from_hex("00ABC"), *seed);
}

TEST(Seed, RoundTripsThroughHex) {
  const Seed seed = Seed::fresh();
  EXPECT_EQ(*Seed::from_hex(seed.hex()), seed);
  EXPECT_NE(Seed::fresh(), seed);
}

TEST(Seed, RefusesWhatIsNotHex) {
  for (const char* text : {"", "0x12", "12 ", "g"}) {
    const auto seed = Seed::from_hex(text);
    ASSERT_FALSE(seed) << text;
    EXPECT_EQ(seed.error().code, ErrorCode::kUsage);
    EXPECT_NE(seed.error().sentence.find("hex digits"), std::string::npos);
  }
  EXPECT_FALSE(Seed::from_hex(std::string(65, '1')));
  EXPECT_TRUE(Seed::from_hex(std::string(64, 'f')));
}

// Samples of published audits are replayed from their seed: these numbers must never change.
TEST(Prf, NumbersAreFixedForever) {
  const Prf prf(*Seed::from_hex("0123456789abcdef"), "model.layers.7.mlp.up_proj.weight");
  EXPECT_EQ(prf.at(0), 0xf013c4d31af49ecdu);
  EXPECT_EQ(prf.at(1), 0xf6f421c47c0c2056u);
  EXPECT_EQ(prf.at(uint64_t{1} << 40), 0xdc4239c91391c168u);
}

TEST(Prf, DependsOnSeedLabelAndCounter) {
  const Seed seed = *Seed::from_hex("1"), other = *Seed::from_hex("2");
  const std::set<uint64_t> numbers{Prf(seed, "a").at(0), Prf(other, "a").at(0),
                                   Prf(seed, "b").at(0), Prf(seed, "a").at(1),
                                   Prf(seed, "a").at(uint64_t{1} << 32)};
  EXPECT_EQ(numbers.size(), 5u);
  EXPECT_EQ(Prf(seed, "a").at(7), Prf(seed, "a").at(7));
}

RC_GTEST_PROP(Prf, BelowStaysBelow, (uint64_t counter, uint64_t any)) {
  const Prf prf(Seed{}, "below");
  const uint64_t n = any == 0 ? 1 : any;
  RC_ASSERT(prf.below(counter, n) < n);
  RC_ASSERT(prf.below(counter, 1) == 0u);
  RC_ASSERT(prf.uniform(counter) >= 0);
  RC_ASSERT(prf.uniform(counter) < 1);
}

// 10 cells, 100,000 draws: chi-square with 9 degrees of freedom exceeds 33.7 once in 10,000 seeds.
TEST(Prf, BelowFillsItsRangeEvenly) {
  const Prf prf(Seed{}, "even");
  std::vector<double> counts(10);
  for (uint64_t i = 0; i < 100000; ++i) ++counts[prf.below(i, 10)];
  double chi_square = 0;
  for (double count : counts) chi_square += (count - 10000) * (count - 10000) / 10000;
  EXPECT_LT(chi_square, 33.7);
}

}  // namespace
}  // namespace hieron
