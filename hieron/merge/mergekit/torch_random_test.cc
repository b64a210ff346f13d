#include "hieron/merge/mergekit/torch_random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace hieron::mergekit {
namespace {

// ISO C++ [rand.predef]: the 10000th word of the generator seeded with 5489 is 4123659995.
TEST(MersenneStream, IsThePublishedGenerator) {
  EXPECT_EQ(MersenneStream(5489, 9999).word(), 4123659995);
}

TEST(MersenneStream, BeginsAnywhereNearTheStart) {
  for (const uint64_t first : {0, 1, 623, 624, 625, 1248, 100'001}) {
    std::mt19937 stepped(7);
    stepped.discard(first);
    MersenneStream stream(7, first);
    for (int i = 0; i < 700; ++i) ASSERT_EQ(stream.word(), stepped()) << first;
  }
}

TEST(MersenneStream, JumpsToWhereSteppingLeads) {
  constexpr uint64_t kFar = (uint64_t{1} << 24) + 12'345;
  std::mt19937 stepped(41);
  stepped.discard(kFar);
  MersenneStream stream(41, kFar);
  for (int i = 0; i < 700; ++i) ASSERT_EQ(stream.word(), stepped());
}

TEST(MersenneStream, TwoJumpsAgreeAcrossAGap) {
  constexpr uint64_t kFar = uint64_t{1} << 41;
  MersenneStream before(41, kFar), after(41, kFar + 5000);
  for (int i = 0; i < 5000; ++i) before.word();
  for (int i = 0; i < 700; ++i) ASSERT_EQ(before.word(), after.word());
}

TEST(MersenneStream, KeepsThirtyTwoBitsOfTheSeed) {
  EXPECT_EQ(MersenneStream((uint64_t{1} << 32) + 7, 0).word(), MersenneStream(7, 0).word());
}

// torch 2.15: manual_seed(7); bernoulli(full((24,), 0.3, dtype=bfloat16))
TEST(MersenneStream, DrawsTheMaskThatTorchDraws) {
  const std::vector<int> torch{0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0,
                               1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0};
  MersenneStream stream(7, 0);
  for (int keep : torch) EXPECT_EQ(stream.keeps(0.30078125), keep == 1);
}

// ATen draws 24 bits and keeps where they, times 2^-24, are less than the probability.
TEST(MersenneStream, ComparesItsBitsWithAThresholdAsTorchDoesWithAProbability) {
  const auto just_below = [](double p) { return std::nextafter(p, 0.0); };
  for (const double p : {-1.0, 0.0, 0x1p-30, 0x1p-24, 0.53, 0.30078125, 0.5, just_below(0.5),
                         static_cast<double>(0.7f), just_below(1.0), 1.0, 2.0,
                         std::numeric_limits<double>::quiet_NaN()}) {
    const uint32_t threshold = MersenneStream::threshold(p);
    for (const uint32_t bits : {0u, 1u, 0x7FFFFFu, 0x800000u, 0x800001u, 0xFFFFFFu, threshold - 1,
                                threshold, threshold + 1}) {
      if (bits > 0xFFFFFF) continue;
      EXPECT_EQ(bits < threshold, bits * 0x1p-24 < p) << p << ", " << bits;
    }
  }
}

using Numbers = std::vector<uint64_t>;

// torch 2.15, as all numbers below: manual_seed(7); randint(1600000, (6,))
TEST(RandomIntegers, AreTorchsAndTakeAWordEach) {
  EXPECT_EQ(random_integers(1'600'000, 6, MersenneStream(7, 0)),
            (Numbers{1341615, 413892, 925721, 375286, 1353283, 1435347}));
  EXPECT_EQ(words_of_integers((1 << 28) - 1, 6), 6);
}

TEST(RandomIntegers, TakeTwoWordsFromTwoToThe28On) {
  EXPECT_EQ(random_integers(1 << 28, 6, MersenneStream(7, 0)),
            (Numbers{171107524, 27798006, 174903507, 77674087, 249162937, 59574807}));
  EXPECT_EQ(words_of_integers(1 << 28, 6), 12);
}

TEST(Permutation, OfSevenIsTorchs) {
  EXPECT_EQ(start_of_permutation(7, 7, MersenneStream(7, 0)), (Numbers{5, 0, 3, 1, 2, 6, 4}));
}

TEST(Permutation, StartsAsTorchsDoes) {
  EXPECT_EQ(start_of_permutation(1'000'003, 6, MersenneStream(7, 0)),
            (Numbers{740634, 411941, 722374, 975289, 955169, 443754}));
}

// randperm(1000003), then randint(1000, (3,))
TEST(Permutation, TakesAWordForAllButTheLast) {
  const uint64_t words = words_of_permutation(1'000'003);
  EXPECT_EQ(words, 1'000'002);
  EXPECT_EQ(random_integers(1000, 3, MersenneStream(7, words)), (Numbers{460, 292, 130}));
}

TEST(Permutation, OfOneTakesNone) {
  EXPECT_EQ(start_of_permutation(1, 1, MersenneStream(7, 0)), Numbers{0});
  EXPECT_EQ(words_of_permutation(1), 0);
}

// From floor((2^32 − 1)/20) on torch goes another way, with two words each.
TEST(Permutation, OfManyIsTorchs) {
  constexpr uint64_t kMany = 214'748'364;
  EXPECT_EQ(start_of_permutation(kMany, 6, MersenneStream(7, 0)),
            (Numbers{93268064, 63068233, 165770247, 155513421, 157420379, 198105859}));
  EXPECT_EQ(words_of_permutation(kMany), 2 * kMany);
  EXPECT_EQ(words_of_permutation(kMany - 1), kMany - 2);
}

}  // namespace
}  // namespace hieron::mergekit
