#include "hieron/report/figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>

#include "hieron/report/curve.h"
#include "hieron/report/samples_test.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ShowShare, NeverRoundsUpToOne) {
  EXPECT_EQ(show_share(1), "1.00000");
  EXPECT_EQ(show_share(std::nextafter(1.0, 0.0)), "0.99999");
  EXPECT_EQ(show_share(0.999994), "0.99999");
  EXPECT_EQ(show_share(0.00712), "0.00712");
}

TEST(ShowShare, NeverRoundsDownToNothing) {
  EXPECT_EQ(show_share(0), "0.00000");
  EXPECT_EQ(show_share(1e-9), "<0.00001");
  EXPECT_EQ(show_share(std::numeric_limits<double>::quiet_NaN()), "–");
}

TEST(ShowPercent, SaysAllOnlyIfItIsAll) {
  EXPECT_EQ(show_percent(7, 7), "100 %");
  EXPECT_EQ(show_percent(99'999'999, 100'000'000), ">99.99 %");
  EXPECT_EQ(show_percent(1, 100'000'000), "<0.01 %");
  EXPECT_EQ(show_percent(0, 5), "0 %");
  EXPECT_EQ(show_percent(1, 3), "33.3 %");
  EXPECT_EQ(show_percent(0, 0), "–");
}

TEST(ShowAlpha, HasTheDigitsThatItsBoundsSupport) {
  EXPECT_EQ(show_alpha(0.6, 0.5999995, 0.6000006), "0.600000");
  EXPECT_EQ(show_alpha(0.6, 0.55, 0.65), "0.600");
  EXPECT_EQ(show_alpha(std::numeric_limits<double>::quiet_NaN(), 0, 1), "–");
}

TEST(ShowBounds, RoundOutward) {
  rc::check([](int low, unsigned width) {
    const double a = low / 1e9, b = a + width / 1e9;
    const std::string text = show_bounds(a, b);
    double shown_low = 0, shown_high = 0;
    RC_ASSERT(std::sscanf(text.c_str(), "[%lf, %lf]", &shown_low, &shown_high) == 2);
    RC_ASSERT(shown_low <= a + 1e-15 && shown_high >= b - 1e-15);
  });
}

TEST(RepeatCommand, NamesEveryModelAndTheSeed) {
  EXPECT_EQ(repeat_command(samples::exact_merge()),
            "hieron audit suspect --parent models/hacker_news --base models/base --control "
            "models/legaladvice "
            "--control models/rarepuppers --control models/apple_android --sample full --seed "
            "6d1f3b5c9a7e0d42");
}

TEST(RepeatCommand, QuotesForTheShell) {
  AuditResult result;
  result.suspect.ref = "it's; rm -rf $HOME";
  EXPECT_EQ(repeat_command(result), "hieron audit 'it'\\''s; rm -rf $HOME'");
}

TEST(FigureRows, FailAControlThatIsExplainedToo) {
  AuditResult result = samples::exact_merge();
  result.depth->controls[1].d16 = 0.31;
  const auto rows = figure_rows(result);
  EXPECT_TRUE(rows[1].passed);
  EXPECT_FALSE(rows[2].passed);
  EXPECT_EQ(rows[2].outcome, "explained too");
}

TEST(Findings, ReportNothingThatDoesNotExist) {
  EXPECT_TRUE(findings(samples::undetermined()).empty());
  EXPECT_TRUE(figure_rows(samples::undetermined()).empty());
}

TEST(ArithmeticSummary, SetsTheSameBytesApartFromFewer) {
  EXPECT_EQ(arithmetic_summary(*samples::exact_merge().recipe),
            "exact; the same bytes: f32-fma, mergekit-0.1.5; fewer: f32-once 0.99984, bf16-delta "
            "0.98310, "
            "bf16-products 0.73120");
}

TEST(Curve, ThinningKeepsTheEndsAndTheHighestPoint) {
  rc::check([](std::vector<std::pair<int, unsigned char>> raw) {
    RC_PRE(!raw.empty());
    std::vector<CurvePoint> curve;
    for (auto [alpha, share] : raw) curve.push_back({alpha / 1e3, share / 255.0});
    const auto thinned = thin(curve, 10);
    RC_ASSERT(thinned.size() <= 10);
    RC_ASSERT(std::ranges::is_sorted(thinned, {}, &CurvePoint::alpha));
    RC_ASSERT(std::ranges::max(thinned, {}, &CurvePoint::share).share ==
              std::ranges::max(curve, {}, &CurvePoint::share).share);
    RC_ASSERT(thinned.front().alpha == std::ranges::min(curve, {}, &CurvePoint::alpha).alpha);
    RC_ASSERT(thinned.back().alpha == std::ranges::max(curve, {}, &CurvePoint::alpha).alpha);
  });
}

TEST(Curve, RangeShowsAPeakFarOutside) {
  DepthFigures depth{};
  depth.alpha = 4;
  EXPECT_GT(alpha_range(depth).high, 4);
  EXPECT_LT(alpha_range(depth).low, 0);
}

TEST(Curve, ColumnsHoldTheMaximumAndFillGapsLinearly) {
  const std::vector<CurvePoint> curve{{0.05, 0}, {0.1001, 0.9}, {0.15, 0}, {0.55, 0.4}};
  const auto shares = columns(curve, {0, 1}, 10);
  EXPECT_EQ(shares[1], 0.9);
  EXPECT_NEAR(shares[3], 0.15, 1e-6);
  EXPECT_EQ(shares[9], 0);
}

TEST(Curve, EnvelopeIsTheHighestControl) {
  DepthFigures depth{};
  depth.control_curves = {{"a", {{0, 0.1}, {1, 0.1}}}, {"b", {{0, 0}, {0.5, 0.3}, {1, 0}}}};
  const auto highest = envelope(depth);
  ASSERT_EQ(highest.size(), 3u);
  EXPECT_EQ(highest[0].share, 0.1);
  EXPECT_EQ(highest[1].share, 0.3);
}

}  // namespace
}  // namespace hieron
