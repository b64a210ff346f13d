#include "hieron/kinship/hidden_units.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hieron/core/prf.h"
#include "hieron/kinship/assignment.h"

namespace hieron {
namespace {

std::vector<double> random_rows(uint8_t seed, size_t n) {
  Seed key;
  key.bytes[0] = seed;
  const Prf prf(key, "rows");
  std::vector<double> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = prf.uniform(i) - 0.5;
  return values;
}

double total(const std::vector<double>& score, const std::vector<uint32_t>& columns) {
  double sum = 0;
  for (size_t i = 0; i < columns.size(); ++i) sum += score[i * columns.size() + columns[i]];
  return sum;
}

RC_GTEST_PROP(Assign, FindsTheBestPermutationOfAll, (std::vector<int> raw)) {
  constexpr size_t n = 5;
  raw.resize(n * n);
  std::vector<double> score(raw.begin(), raw.end());
  const std::vector<uint32_t> found = assign(score, n);
  std::vector<uint32_t> permutation(n);
  std::iota(permutation.begin(), permutation.end(), 0u);
  RC_ASSERT(std::is_permutation(found.begin(), found.end(), permutation.begin()));
  double best = total(score, permutation);
  do {
    best = std::max(best, total(score, permutation));
  } while (std::ranges::next_permutation(permutation).found);
  RC_ASSERT(std::abs(total(score, found) - best) <= 1e-6 * std::max(1.0, std::abs(best)));
}

TEST(MatchedToOwnIndex, IsEveryUnitOfAModelAndItsNoisyChild) {
  const std::vector<double> a = random_rows(1, 64 * 32);
  std::vector<double> b = a;
  const std::vector<double> noise = random_rows(2, b.size());
  for (size_t i = 0; i < b.size(); ++i) b[i] += 0.5 * noise[i];
  EXPECT_EQ(matched_to_own_index(a, b, 64, 32), 64u);
}

TEST(MatchedToOwnIndex, IsAboutOneBetweenStrangers) {
  uint64_t sum = 0;
  constexpr int kPairs = 60;
  for (int i = 0; i < kPairs; ++i) {
    sum += matched_to_own_index(random_rows(static_cast<uint8_t>(2 * i), 32 * 16),
                                random_rows(static_cast<uint8_t>(2 * i + 1), 32 * 16), 32, 16);
  }
  // Poisson(60): 60 ± 4 standard deviations.
  EXPECT_NEAR(static_cast<double>(sum), kPairs, 4 * std::sqrt(kPairs));
}

TEST(MatchedToOwnIndex, CountsNoUnitOfZeros) {
  const std::vector<double> zeros(16 * 8, 0.0);
  EXPECT_EQ(matched_to_own_index(zeros, zeros, 16, 8), 0u);
}

TEST(PoissonTail, HasThePublishedValues) {
  EXPECT_DOUBLE_EQ(poisson_tail(1, 0), 1);
  EXPECT_NEAR(poisson_tail(1, 1), 1 - std::exp(-1.0), 1e-15);
  EXPECT_NEAR(poisson_tail(1, 2), 0.26424111765711533, 1e-14);
  EXPECT_NEAR(poisson_tail(1, 4), 0.018988156876153808, 1e-14);
  EXPECT_LT(poisson_tail(5, 185), 1e-200);
}

}  // namespace
}  // namespace hieron
