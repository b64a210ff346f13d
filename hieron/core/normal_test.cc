#include "hieron/core/normal.h"

#include <gtest/gtest.h>

#include <cmath>

namespace hieron {
namespace {

// Wichura 1988, table of test values; the far tail from the same function in multiple precision.
TEST(NormalQuantile, HasThePublishedValues) {
  EXPECT_NEAR(normal_quantile(0.25), -0.6744897501960817, 1e-15);
  EXPECT_NEAR(normal_quantile(0.001), -3.090232306167814, 1e-14);
  EXPECT_NEAR(normal_quantile(1e-20), -9.262340089798408, 1e-14);
  EXPECT_EQ(normal_quantile(0.5), 0);
  EXPECT_TRUE(std::isnan(normal_quantile(0)));
  EXPECT_TRUE(std::isnan(normal_quantile(1)));
}

TEST(NormalQuantile, InvertsTheDistributionFunctionEverywhere) {
  for (double p = 1e-12; p < 1; p = p < 0.01 ? p * 1.7 : p + 0.013) {
    const double back = 0.5 * std::erfc(-normal_quantile(p) / std::sqrt(2.0));
    EXPECT_NEAR(back / p, 1, 1e-13) << p;
  }
}

TEST(Normal, HasTheMomentsOfANormalDistribution) {
  const Prf prf(Seed{}, "normal");
  double sums[5] = {};
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = normal(prf, static_cast<uint64_t>(i));
    for (int power = 1; power <= 4; ++power) sums[power] += std::pow(x, power) / kDraws;
  }
  EXPECT_NEAR(sums[1], 0, 0.02);
  EXPECT_NEAR(sums[2], 1, 0.03);
  EXPECT_NEAR(sums[3], 0, 0.06);
  EXPECT_NEAR(sums[4], 3, 0.2);
}

}  // namespace
}  // namespace hieron
