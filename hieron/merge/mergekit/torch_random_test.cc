#include "hieron/merge/mergekit/torch_random.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace hieron::mergekit
