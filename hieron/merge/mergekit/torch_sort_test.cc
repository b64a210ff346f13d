#include "hieron/merge/mergekit/torch_sort.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>

namespace hieron::mergekit {
namespace {

const std::vector<float> kTied{3, 1, 2, 3, 1, 0, 2, 3, 1, 2, 0, 3,
                               2, 1, 0, 3, 2, 1, 3, 0, 2, 1, 3, 0};

// What torch 2.15 printed for these values, on AVX2 and on its plain kernels alike.
const std::vector<uint32_t> kAscending{23, 19, 5,  14, 10, 1,  21, 17, 13, 8, 4,  9,
                                       12, 6,  16, 20, 2,  11, 7,  15, 18, 3, 22, 0};
const std::vector<uint32_t> kDescending{0,  3, 22, 7,  18, 11, 15, 2,  6,  20, 9, 12,
                                        16, 1, 21, 17, 13, 8,  4,  14, 10, 19, 5, 23};

std::vector<uint32_t> chosen(const std::vector<uint8_t>& mask) {
  std::vector<uint32_t> indices;
  for (uint32_t i = 0; i < mask.size(); ++i) {
    if (mask[i] != 0) indices.push_back(i);
  }
  return indices;
}

std::vector<uint32_t> sorted(std::vector<uint32_t> indices) {
  std::ranges::sort(indices);
  return indices;
}

std::vector<float> few_values(size_t n, uint32_t distinct, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(random() % distinct);
  return values;
}

TEST(TorchSort, LeavesTiesWhereTorchLeavesThem) { EXPECT_EQ(sorted_indices(kTied), kAscending); }

TEST(TorchSort, AnyStretchOfTheOrderHoldsTheSameElementsAsTorchs) {
  for (size_t first = 0; first < kTied.size(); ++first) {
    for (size_t last = first; last <= kTied.size(); ++last) {
      const auto up = std::vector(kAscending.begin() + static_cast<ptrdiff_t>(first),
                                  kAscending.begin() + static_cast<ptrdiff_t>(last));
      const auto down = std::vector(kDescending.begin() + static_cast<ptrdiff_t>(first),
                                    kDescending.begin() + static_cast<ptrdiff_t>(last));
      EXPECT_EQ(chosen(sorted_between(kTied, false, first, last)), sorted(up));
      EXPECT_EQ(chosen(sorted_between(kTied, true, first, last)), sorted(down));
    }
  }
}

TEST(TorchSort, LooksAtMagnitudes) {
  std::vector<float> signs = kTied;
  for (size_t i = 0; i < signs.size(); i += 3) signs[i] = -signs[i];
  EXPECT_EQ(sorted_indices(signs), kAscending);
}

TEST(TorchSort, NanIsLargerThanInfinity) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> values{1, std::nanf(""), inf, 0};
  EXPECT_EQ(sorted_indices(values), (std::vector<uint32_t>{3, 0, 2, 1}));
  EXPECT_EQ(chosen(sorted_between(values, true, 0, 1)), (std::vector<uint32_t>{1}));
}

// Printed by torch 2.15: topk of i·7919 mod 5, i < 130. Two is few enough for its partial sort.
TEST(TorchTopK, PicksTheTiesThatTorchPicks) {
  std::vector<float> values(130);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7919 % 5);
  EXPECT_EQ(chosen(top_k(values, 2)), (std::vector<uint32_t>{1, 6}));
  EXPECT_EQ(chosen(top_k(values, 10)),
            (std::vector<uint32_t>{21, 26, 36, 41, 46, 51, 56, 106, 111, 116}));
}

#ifdef __GLIBCXX__  // the library that torch's binaries sort with

using Pair = std::pair<float, uint32_t>;

bool by_value(const Pair& a, const Pair& b) { return a.first < b.first; }
bool by_value_down(const Pair& a, const Pair& b) { return a.first > b.first; }

std::vector<Pair> pairs(const std::vector<float>& values) {
  std::vector<Pair> all;
  for (uint32_t i = 0; i < values.size(); ++i) all.emplace_back(values[i], i);
  return all;
}

std::vector<uint32_t> indices(const std::vector<Pair>& all) {
  std::vector<uint32_t> found;
  for (const Pair& pair : all) found.push_back(pair.second);
  return found;
}

TEST(TorchSort, MakesTheExchangesOfTheGnuLibrary) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const auto values = few_values(17 + seed * seed * 7, 1 + seed * 3, seed);
    std::vector<Pair> all = pairs(values);
    std::sort(all.begin(), all.end(), by_value);
    EXPECT_EQ(sorted_indices(values), indices(all));
  }
}

// The worst order for a median of three makes the recursion too deep, and heapsort takes over.
TEST(TorchSort, FollowsIntoHeapsort) {
  constexpr size_t kHalf = 2000;
  std::vector<float> values(2 * kHalf);
  for (size_t i = 1; i <= kHalf; ++i) {
    values[i - 1] = static_cast<float>(i % 2 == 1 ? i : kHalf + i - 1);
    values[kHalf + i - 1] = static_cast<float>(2 * i);
  }
  std::vector<float> tied = values;
  for (float& v : tied) v = std::floor(v / 3);
  for (const auto& order : {values, tied}) {
    std::vector<Pair> all = pairs(order);
    std::sort(all.begin(), all.end(), by_value);
    EXPECT_EQ(sorted_indices(order), indices(all));
  }
}

TEST(TorchTopK, MakesTheExchangesOfTheGnuLibrary) {
  for (uint32_t seed = 1; seed < 60; ++seed) {
    const auto values = few_values(40 + seed * 37, 1 + seed % 9, seed);
    const size_t k = 1 + seed * seed % values.size();
    std::vector<Pair> all = pairs(values);
    const auto middle = all.begin() + static_cast<ptrdiff_t>(k);
    if (k * 64 <= values.size()) {
      std::partial_sort(all.begin(), middle, all.end(), by_value_down);
    } else {
      std::nth_element(all.begin(), middle - 1, all.end(), by_value_down);
    }
    all.erase(middle, all.end());
    EXPECT_EQ(chosen(top_k(values, k)), sorted(indices(all))) << "k " << k;
  }
}

#endif

}  // namespace
}  // namespace hieron::mergekit
