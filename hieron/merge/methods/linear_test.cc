#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "hieron/merge/ends_weights.h"
#include "hieron/merge/methods/run_method_test.h"
#include "hieron/merge/methods/table.h"
#include "hieron/merge/traces/decimals.h"

namespace hieron {
namespace {

TensorParameters weights(std::initializer_list<double> values, bool normalize = true) {
  TensorParameters parameters;
  for (double w : values) parameters.per_model.push_back({{"weight", w}});
  parameters.global["normalize"] = normalize ? 1 : 0;
  return parameters;
}

bool offers(const std::vector<EndsWeights>& found, double a, double b) {
  return std::ranges::any_of(found, [&](const EndsWeights& h) {
    return h.combination.weights == std::vector<double>{a, b} && h.combination.normalize;
  });
}

TensorTask task_of(TensorParameters parameters, DType out = DType::kF32) {
  return {.name = "w",
          .shape = {},
          .parameters = std::make_shared<const TensorParameters>(std::move(parameters)),
          .inputs = {},
          .base = {},
          .out = out};
}

TEST(Linear, AveragesTwoNumbers) {
  EXPECT_EQ(run_method(linear(), task_of(weights({1, 3})),
                       {{DType::kF32, {1, -2, 0.5}}, {DType::kF32, {3, 2, 0.25}}}),
            (std::vector<double>{2.5, 1, 0.3125}));
}

TEST(Linear, RefusesWeightsThatSumToZero) {
  EXPECT_TRUE(linear().check(task_of(weights({0.5, -0.5}))));
  EXPECT_TRUE(linear().check(task_of(weights({0.1, 0.2, -0.3}))));  // 5.6e-17 in f64
  EXPECT_FALSE(linear().check(task_of(weights({0.5, -0.5}, false))));
  EXPECT_FALSE(linear().check(task_of(weights({1.3, -0.3}))));
}

TEST(EndsWeights, OffersTheSimplestWeightsFirst) {
  const auto found = weights_within({0.6, 0.59999, 0.60001, true});
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found[0].combination.weights, (std::vector<double>{0.6, 0.4}));
}

TEST(EndsWeights, OffersNormalisedPairs) {
  const auto found = weights_within({4.0 / 7, 0.571427, 0.571430, true});
  EXPECT_TRUE(offers(found, 0.8, 0.6));
  EXPECT_TRUE(offers(found, 4, 3));
}

TEST(EndsWeights, OffersExtrapolations) {
  EXPECT_TRUE(offers(weights_within({1.3, 1.29999, 1.30001, true}), 1.3, -0.3));
}

TEST(EndsWeights, OffersTheShortestDecimalWhereNoRoundOneFits) {
  const auto found = weights_within({0.56512347, 0.56512346, 0.56512348, true});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].combination.weights[0], 0.56512347);
}

// Weights rounded to bf16 shift the share that the bytes show: w/Σw of the rounded ones.
TEST(EndsWeights, LooksAroundACoarseEstimate) {
  const double shown = decode(DType::kBF16, encode(DType::kBF16, 0.3)) /
                       (decode(DType::kBF16, encode(DType::kBF16, 0.3)) +
                        decode(DType::kBF16, encode(DType::kBF16, 0.7)));
  ASSERT_NE(shown, 0.3);
  EXPECT_TRUE(offers(weights_within({shown, shown - 1e-6, shown + 1e-6, false}), 0.3, 0.7));
}

// What apply makes, recover names: the hard bounds of alpha from the cells of the merged elements.
RC_GTEST_PROP(EndsWeights, AreThoseThatLinearWasGiven, ()) {
  const int hundredths = *rc::gen::inRange(-50, 151);
  RC_PRE(hundredths != 0 && hundredths != 100);
  const double w = hundredths / 100.0, rest = (100 - hundredths) / 100.0;
  double low = -1e9, high = 1e9;
  for (int i = 1; i <= 400; ++i) {
    const float p = static_cast<float>(std::sin(i * 1.7)),
                q = static_cast<float>(std::cos(i * 0.9));
    const double s = run_method(linear(), task_of(weights({w, rest}), DType::kBF16),
                                {{DType::kF32, {p}}, {DType::kF32, {q}}})[0];
    const double ulp = std::ldexp(1, std::ilogb(s) - 7);
    const double x = static_cast<double>(p) - static_cast<double>(q);
    const double a = (s - ulp / 2 - q) / x, b = (s + ulp / 2 - q) / x;
    low = std::max(low, std::min(a, b));
    high = std::min(high, std::max(a, b));
  }
  RC_ASSERT(low <= w && w <= high);
  RC_ASSERT(offers(weights_within({(low + high) / 2, low, high, true}), w, rest));
}

TEST(EndsWeights, NeverOffersMoreThan64) {
  EXPECT_LE(weights_within({0.5, 0.3, 0.7, false}).size(), 64u);
  EXPECT_TRUE(weights_within({NAN, NAN, NAN, true}).empty());
}

TEST(Passthrough, KeepsNegativeZero) {
  TensorParameters parameters;
  parameters.per_model.push_back({{"scale", 0.5}});
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kF32Once}) {
    TensorTask task = task_of(parameters, DType::kBF16);
    task.arithmetic = arithmetic;
    const double out = run_method(passthrough(), task, {{DType::kBF16, {-0.0}}})[0];
    EXPECT_TRUE(out == 0 && std::signbit(out)) << info(arithmetic).name;
  }
}

TEST(Decimals, ListsTheShortestFirst) {
  const auto found = decimals_within(0.58, 0.61, 2, 100);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].value(), 0.6);
  EXPECT_EQ(found[1].value(), 0.58);
  EXPECT_EQ(found[3].value(), 0.61);
  EXPECT_EQ(found[1].complement().value(), 0.42);
}

}  // namespace
}  // namespace hieron
