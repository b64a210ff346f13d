#include "hieron/fit/interval.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

namespace hieron {
namespace {

double rounded(DType dtype, double value) { return decode(dtype, encode(dtype, value)); }

RC_GTEST_PROP(Admissible, HoldsTheAlphaThatMadeTheElement, ()) {
  const DType dtype =
      *rc::gen::element(DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kF8E5M2);
  const double p = rounded(dtype, *rc::gen::inRange(-100000, 100000) / 4096.0);
  const double q = rounded(dtype, *rc::gen::inRange(-100000, 100000) / 4096.0);
  const double alpha = *rc::gen::inRange(-200, 300) / 100.0;
  const double s = rounded(dtype, alpha * p + (1 - alpha) * q);
  RC_PRE(std::isfinite(p) && std::isfinite(q) && std::isfinite(s));
  std::vector<AlphaInterval> out;
  admissible({dtype, std::span(&s, 1), std::span(&p, 1), std::span(&q, 1)}, out);
  for (const AlphaInterval& a : out) {
    RC_ASSERT(a.low <= alpha + 1e-12);
    RC_ASSERT(alpha <= a.high + 1e-12);
    RC_ASSERT(a.leverage >= kLeastLeverage);
  }
}

TEST(Admissible, CountsEqualEndsAndWhetherTheSuspectKeepsThem) {
  const std::vector<double> s{1.0, 2.0}, p{1.0, 1.0}, q{1.0, 1.0};
  std::vector<AlphaInterval> out;
  const IntervalCounts counts = admissible({DType::kBF16, s, p, q}, out);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(counts.ends_equal, 2u);
  EXPECT_EQ(counts.ends_equal_kept, 1u);
}

TEST(Admissible, SetsAsideWhatIsNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> s{nan, 1.0}, p{1.0, std::numeric_limits<double>::infinity()},
      q{2.0, 2.0};
  std::vector<AlphaInterval> out;
  const IntervalCounts counts = admissible({DType::kBF16, s, p, q}, out);
  EXPECT_EQ(counts.not_finite, 2u);
  EXPECT_EQ(counts.elements, 0u);
}

TEST(Admissible, KeepsATieThatF32ArithmeticBreaksEitherWay) {
  // 1.3·a − 0.3·b is an exact tie in bf16 whenever a − b is an odd multiple of 5 ulp.
  const double a = 1.0 + 5 * std::ldexp(1.0, -7), b = 1.0;
  const double exact = 1.3 * a - 0.3 * b;
  const double below = rounded(DType::kBF16, exact - 1e-3),
               above = rounded(DType::kBF16, exact + 1e-3);
  ASSERT_NE(below, above);
  for (const double s : {below, above}) {
    std::vector<AlphaInterval> out;
    admissible({DType::kBF16, std::span(&s, 1), std::span(&a, 1), std::span(&b, 1)}, out);
    ASSERT_EQ(out.size(), 1u);
    EXPECT_LE(out[0].low, 1.3);
    EXPECT_GE(out[0].high, 1.3);
  }
}

TEST(TrueDtype, SeesThroughAWidenedFile) {
  std::vector<double> values;
  for (int i = 0; i < 100; ++i) values.push_back(rounded(DType::kBF16, std::sin(i) * 0.3));
  EXPECT_EQ(true_dtype(DType::kF32, values), DType::kBF16);
  values.push_back(static_cast<double>(0.1f));
  EXPECT_EQ(true_dtype(DType::kF32, values), DType::kF32);
  EXPECT_EQ(true_dtype(DType::kBF16, values), DType::kBF16);
}

TEST(TrueDtype, IsNotGuessedFromZerosAndOnes) {
  const std::vector<double> values{0, 1, 1, 0, 2};
  EXPECT_EQ(true_dtype(DType::kF32, values), DType::kF32);
}

}  // namespace
}  // namespace hieron
