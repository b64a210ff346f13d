#include "hieron/fit/depth.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

namespace hieron {
namespace {

AlphaInterval interval(double low, double high) { return {low, high, 100}; }

// By definition: try every opening end.
uint64_t deepest(const std::vector<AlphaInterval>& intervals) {
  uint64_t best = 0;
  for (const AlphaInterval& a : intervals) {
    if (a.high < kAlphaMin || a.low > kAlphaMax) continue;
    best = std::max(best, covered_at(intervals, 4, std::max(a.low, kAlphaMin)));
  }
  return best;
}

TEST(Depth, FindsTheCommonPartOfOverlappingIntervals) {
  const std::vector<AlphaInterval> intervals{interval(0.1, 0.7), interval(0.5, 0.9),
                                             interval(0.55, 0.6), interval(2, 3)};
  const Depth d = depth(intervals, 4);
  EXPECT_EQ(d.informative, 4u);
  EXPECT_EQ(d.covered, 3u);
  EXPECT_DOUBLE_EQ(d.low, 0.55);
  EXPECT_DOUBLE_EQ(d.high, 0.6);
}

TEST(Depth, CountsTouchingEndsAsCommon) {
  const std::vector<AlphaInterval> intervals{interval(0.2, 0.5), interval(0.5, 0.8)};
  EXPECT_EQ(depth(intervals, 4).covered, 2u);
}

TEST(Depth, LooksOnlyAtElementsThatAreInformative) {
  std::vector<AlphaInterval> intervals{interval(0.2, 0.4), interval(0.3, 0.5)};
  intervals[1].leverage = 5;
  EXPECT_EQ(depth(intervals, 16).informative, 1u);
  EXPECT_EQ(depth(intervals, 4).informative, 2u);
}

TEST(Depth, OfNothingIsZero) {
  const Depth d = depth({}, 4);
  EXPECT_EQ(d.informative, 0u);
  EXPECT_EQ(d.share(), 0);
}

TEST(Depth, ReachesOutsideZeroToOne) {
  const std::vector<AlphaInterval> intervals{interval(3.9, 4.1), interval(3.95, 4.05),
                                             interval(-9, -8)};
  const Depth d = depth(intervals, 4);
  EXPECT_EQ(d.covered, 2u);
  EXPECT_NEAR(d.alpha(), 4.0, 0.06);
}

RC_GTEST_PROP(Depth, IsTheMaximumByDefinition, ()) {
  const auto ends = *rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(-500, 600), rc::gen::inRange(0, 120)));
  std::vector<AlphaInterval> intervals;
  for (const auto& [low, width] : ends)
    intervals.push_back(interval(low / 100.0, (low + width) / 100.0));
  const Depth d = depth(intervals, 4);
  RC_ASSERT(d.covered == deepest(intervals));
  if (d.covered > 0) {
    RC_ASSERT(covered_at(intervals, 4, d.low) == d.covered);
    RC_ASSERT(covered_at(intervals, 4, d.high) == d.covered);
  }
}

RC_GTEST_PROP(DepthCurve, CountsWhatCoveredAtCounts, ()) {
  const auto ends = *rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(-200, 300), rc::gen::inRange(0, 60)));
  std::vector<AlphaInterval> intervals;
  for (const auto& [low, width] : ends)
    intervals.push_back(interval(low / 100.0, (low + width) / 100.0));
  std::vector<double> grid;
  for (int i = -100; i <= 200; i += 7) grid.push_back(i / 100.0);
  const std::vector<double> curve = depth_curve(intervals, 4, grid);
  for (size_t i = 0; i < grid.size(); ++i) {
    const double expected = intervals.empty()
                                ? 0
                                : static_cast<double>(covered_at(intervals, 4, grid[i])) /
                                      static_cast<double>(intervals.size());
    RC_ASSERT(curve[i] == expected);
  }
}

TEST(EvidenceBits, GrowWithCoveredElementsAndFallWithMisses) {
  std::vector<AlphaInterval> intervals(1000, interval(0.59, 0.61));
  const double all = evidence_bits(intervals, 16, 0.6, 1);
  EXPECT_NEAR(all, 1000 * -std::log2(0.02) - std::log2(9 / 0.02), 1e-6);
  intervals[0] = interval(0.1, 0.12);
  EXPECT_LT(evidence_bits(intervals, 16, 0.6, 1), all);
  EXPECT_LT(evidence_bits(intervals, 16, 0.3, 1), 0);
}

}  // namespace
}  // namespace hieron
