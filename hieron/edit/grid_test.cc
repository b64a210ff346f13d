#include "hieron/edit/grid.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace hieron {
namespace {

TEST(Grid, SymmetricFourBitsAreMultiplesOfASeventhOfTheLargest) {
  std::vector<double> values{0.7, -0.34, 0.06, -0.7};
  round_to_grid({4, 4, false, ScaleRule::kSymmetric, false, true}, values, 4);
  EXPECT_DOUBLE_EQ(values[0], 0.7);
  EXPECT_DOUBLE_EQ(values[1], -3 * (0.7 / 7));
  EXPECT_DOUBLE_EQ(values[2], 1 * (0.7 / 7));
  EXPECT_DOUBLE_EQ(values[3], -0.7);
}

TEST(Grid, FullRangeCutsTheTopValueOff) {
  std::vector<double> values{0.8, -0.8};
  round_to_grid({4, 2, false, ScaleRule::kFullRange, false, true}, values, 2);
  EXPECT_DOUBLE_EQ(values[0], 0.7);
  EXPECT_DOUBLE_EQ(values[1], -0.8);
}

TEST(Grid, AZeroPointKeepsZero) {
  std::vector<double> values{0.0, 1.5, 3.0, 0.2};
  round_to_grid({4, 4, false, ScaleRule::kAsymmetric, false, true}, values, 4);
  EXPECT_DOUBLE_EQ(values[0], 0);
  EXPECT_DOUBLE_EQ(values[2], 3);
}

TEST(Grid, ColumnsAreRoundedAsRowsOfTheTranspose) {
  const size_t n = 32;
  std::vector<double> values(n * n), transposed(n * n);
  for (size_t i = 0; i < n * n; ++i) values[i] = std::sin(static_cast<double>(i * i % 977));
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c < n; ++c) transposed[c * n + r] = values[r * n + c];
  }
  round_to_grid({5, 16, false, ScaleRule::kSymmetric, false, true}, values, n);
  round_to_grid({5, 16, true, ScaleRule::kSymmetric, false, true}, transposed, n);
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c < n; ++c) EXPECT_EQ(transposed[c * n + r], values[r * n + c]);
  }
}

TEST(Grid, HasAtMostTwoToTheBitsValuesAGroup) {
  for (const Grid& grid : known_grids()) {
    if (grid.columns || grid.group != 64) continue;
    std::vector<double> values(64);
    for (size_t i = 0; i < 64; ++i) values[i] = std::cos(static_cast<double>(i * i));
    round_to_grid(grid, values, 64);
    const std::set<double> different(values.begin(), values.end());
    EXPECT_LE(different.size(), size_t{1} << grid.bits) << in_words(grid);
  }
}

TEST(Grid, SaysWhetherZeroHasASign) {
  std::vector<double> values{1.0, -0.01};
  round_to_grid({4, 2, false, ScaleRule::kSymmetric, false, true}, values, 2);
  EXPECT_TRUE(std::signbit(values[1]));
  values = {1.0, -0.01};
  round_to_grid({4, 2, false, ScaleRule::kSymmetric, false, false}, values, 2);
  EXPECT_FALSE(std::signbit(values[1]));
}

}  // namespace
}  // namespace hieron
