#include "hieron/kernels/round_delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/softmax_divergence.h"

namespace hieron {
namespace {

double rounded(DType dtype, double base, std::vector<double> x, std::vector<double> c,
               std::vector<double> w = {}) {
  std::vector<const double*> values, coefficients, weights;
  for (size_t k = 0; k < x.size(); ++k) {
    values.push_back(&x[k]);
    coefficients.push_back(&c[k]);
    if (!w.empty()) weights.push_back(&w[k]);
  }
  std::vector<std::byte> out(8);
  std::vector<double> scratch;
  round_delta({&base, values, coefficients, weights}, dtype, out.data(), 1, scratch);
  return decode(dtype, load_bits(dtype, out.data(), 0));
}

TEST(RoundDelta, DecidesExactTiesByTheEvenNeighbour) {
  // Half-way between 1 and 1 + 2^-7, and between 1 + 2^-7 and 1 + 2^-6.
  EXPECT_EQ(rounded(DType::kBF16, 1, {1 + 0x1p-7}, {0.5}), 1);
  EXPECT_EQ(rounded(DType::kBF16, 1 + 0x1p-7, {1 + 0x1p-6}, {0.5}), 1 + 0x1p-6);
  EXPECT_EQ(rounded(DType::kBF16, -1, {-1 - 0x1p-7}, {0.5}), -1);
}

TEST(RoundDelta, SeesTheLastBitOfACoefficient) {
  EXPECT_EQ(rounded(DType::kBF16, 1, {1 + 0x1p-7}, {std::nextafter(0.5, 1)}), 1 + 0x1p-7);
  EXPECT_EQ(rounded(DType::kBF16, 1, {1 + 0x1p-7}, {std::nextafter(0.5, 0)}), 1);
  // 1/3 of three halves of a step: a tie that only exists in real numbers.
  EXPECT_EQ(rounded(DType::kBF16, 1, {1 + 0x1p-7, 1}, {1.5, 0}, {1, 2}), 1);
  EXPECT_EQ(rounded(DType::kBF16, 1, {1 + 0x1p-7, 1}, {std::nextafter(1.5, 2), 0}, {1, 2}),
            1 + 0x1p-7);
}

TEST(RoundDelta, KeepsTheBaseWhereNobodyTakesPart) {
  EXPECT_TRUE(std::signbit(rounded(DType::kBF16, -0.0, {3}, {0})));
  EXPECT_EQ(rounded(DType::kBF16, 0.25, {NAN}, {0}), 0.25);
}

TEST(RoundDelta, SurvivesCancellation) {
  // 1 − (1 − 2^-30) leaves 2^-30, and 0.1 + 0.2 − 0.3 of the same change next to nothing.
  EXPECT_EQ(rounded(DType::kBF16, 1, {0x1p-30}, {1}), 0x1p-30);
  EXPECT_EQ(rounded(DType::kF32, 1, {2, 2, 2}, {0.1, 0.2, -0.3}), 1);
  EXPECT_EQ(rounded(DType::kF32, 0, {1, 1, 1}, {0.1, 0.2, -0.3}), 2.77555756156289135e-17f);
}

TEST(RoundDelta, DoesNotDependOnTheOrderOfTheModels) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (int i = 0; i < 20'000; ++i) {
    const auto bf16 = [&] { return decode(DType::kBF16, encode(DType::kBF16, uniform(random))); };
    const double b = bf16(), x = bf16(), y = bf16(), z = bf16();
    const double forward = rounded(DType::kBF16, b, {x, y, z}, {0.5, 0.3, 0.2}, {0.5, 0.3, 0.2});
    const double backward = rounded(DType::kBF16, b, {z, y, x}, {0.2, 0.3, 0.5}, {0.2, 0.3, 0.5});
    ASSERT_EQ(forward, backward) << i;
  }
}

TEST(SignOfDelta, IsExact) {
  EXPECT_EQ(sign_of_delta(0, std::vector<double>{1, 1, 1}, std::vector<double>{0.1, 0.2, -0.3}), 1);
  EXPECT_EQ(sign_of_delta(1, std::vector<double>{2, 0}, std::vector<double>{0.7, 0.7}), 0);
}

TEST(SoftmaxDivergence, AgreesWithTheDefinition) {
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 2);
  std::vector<double> x(1000), y(1000), scratch;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = normal(random);
    y[i] = x[i] + 0.1 * normal(random);
  }
  long double xs = 0, ys = 0, sum = 0;
  for (double v : x) xs += expl(v);
  for (double v : y) ys += expl(v);
  for (size_t i = 0; i < x.size(); ++i) {
    const long double p = expl(x[i]) / xs + 1e-8L, q = expl(y[i]) / ys + 1e-8L;
    sum += p * logl(p / q);
  }
  EXPECT_NEAR(softmax_divergence(x, y, 1e-8, scratch), static_cast<double>(sum),
              static_cast<double>(sum) * 1e-10);
  EXPECT_EQ(softmax_divergence(x, x, 1e-8, scratch), 0);
}

}  // namespace
}  // namespace hieron
