#include "hieron/merge/mergekit/torch_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "hieron/merge/mergekit/elementary.h"
#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {
namespace {

// Numbers that NumPy makes from integers in the same way: multiples of 2^-24 in [−3/8, 5/8).
Values ramp(size_t n, DType dtype = DType::kF32) {
  const Rounding r(dtype);
  Values x(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t hashed = static_cast<uint32_t>(i) * 2654435761u >> 8;
    x[i] = r(static_cast<float>(hashed) * 0x1p-24f - 0.375f);
  }
  return x;
}

struct Printed {
  size_t n;
  DType dtype;
  float sum, norm, dot;  // dot: with the reversed vector
};

// By torch 2.15, one thread.
constexpr Printed kPrinted[] = {
    {5, DType::kF32, 0x1.38aafcp-2f, 0x1.5a7caap-1f, 0x1.6f429cp-3f},
    {5, DType::kBF16, 0x1.38p-2f, 0x1.5ap-1f, 0x1.6ep-3f},
    {5, DType::kF16, 0x1.388p-2f, 0x1.5a8p-1f, 0x1.6f4p-3f},
    {100, DType::kF32, 0x1.789558p+3f, 0x1.90ad4cp+1f, 0x1.f13674p-1f},
    {100, DType::kBF16, 0x1.78p+3f, 0x1.9p+1f, 0x1.f2p-1f},
    {100, DType::kF16, 0x1.788p+3f, 0x1.90cp+1f, 0x1.f14p-1f},
    {1000, DType::kF32, 0x1.f3e7ccp+6f, 0x1.3e58ccp+3f, 0x1.adedp+5f},
    {1000, DType::kBF16, 0x1.f4p+6f, 0x1.3ep+3f, 0x1.aep+5f},
    {1000, DType::kF16, 0x1.f4p+6f, 0x1.3e4p+3f, 0x1.aep+5f},
    {70001, DType::kF32, 0x1.116b38p+13f, 0x1.4cea14p+6f, 0x1.b554d4p+11f},
    {70001, DType::kBF16, 0x1.12p+13f, 0x1.4cp+6f, 0x1.b6p+11f},
    {70001, DType::kF16, 0x1.118p+13f, 0x1.4dp+6f, 0x1.b54p+11f},
};

TEST(TorchSum, SumsNormsAndDotsAreThoseThatTorchPrinted) {
  for (const Printed& torch : kPrinted) {
    const Rounding r(torch.dtype);
    const Values x = ramp(torch.n, torch.dtype);
    Values reversed = x;
    std::ranges::reverse(reversed);
    EXPECT_EQ(r(sum(x, torch.dtype)), torch.sum) << torch.n;
    EXPECT_EQ(r(norm(x, torch.dtype)), torch.norm) << torch.n;
    EXPECT_EQ(r(dot(x, reversed, torch.dtype)), torch.dot) << torch.n;
  }
}

TEST(TorchSum, MeansAreThoseThatTorchPrinted) {
  const Rounding r(DType::kBF16);
  EXPECT_EQ(r(mean(ramp(5, DType::kBF16))), 0x1.f4p-5f);
  EXPECT_EQ(r(mean(ramp(100, DType::kBF16))), 0x1.e2p-4f);
}

// r(Σ ramp·(k + 1)·0.37) over the models, by torch 2.15.
void expect_model_sums(size_t models, size_t elements,
                       std::initializer_list<std::pair<size_t, float>> printed) {
  const Values x = ramp(elements);
  const ModelSum add(elements, DType::kF32);
  for (const auto& [element, torch] : printed) {
    Values terms;
    for (size_t k = 0; k < models; ++k) {
      terms.push_back(x[element] * static_cast<float>(k + 1) * 0.37f);
    }
    EXPECT_EQ(add(terms, element), torch) << models << " models, element " << element;
  }
}

TEST(TorchSum, AddsModelsAsTorchDoes) {
  expect_model_sums(
      5, 70,
      {{0, -0x1.0a6668p+1f}, {33, 0x1.c96b1cp-4f}, {64, 0x1.fd24e4p-1f}, {69, 0x1.7eaf78p+0f}});
  expect_model_sums(
      20, 70,
      {{0, -0x1.d23332p+4f}, {33, 0x1.903db8p+0f}, {64, 0x1.bd8044p+3f}, {69, 0x1.4ed98ap+4f}});
  expect_model_sums(
      9, 7, {{0, -0x1.8f999cp+2f}, {3, 0x1.fe87f4p+2f}, {4, 0x1.9e0838p+0f}, {6, 0x1.630fe6p+2f}});
}

TEST(TorchSum, AnEmptyStretchSumsToZero) {
  EXPECT_EQ(sum({}, DType::kBF16), 0);
  EXPECT_EQ(norm({}, DType::kF32), 0);
}

TEST(Elementary, AgreesWithTheCLibraryToAFewUnitsOfTheLastPlace) {
  constexpr double kFew = 8 * 0x1p-53;
  for (double x = -1; x <= 1; x += 1.0 / 997) {
    EXPECT_NEAR(arc_cosine(x), std::acos(x), kFew * (0.01 + std::acos(x)));
    EXPECT_NEAR(sine(4 * x), std::sin(4 * x), kFew);
    EXPECT_NEAR(cosine(4 * x), std::cos(4 * x), kFew);
    EXPECT_NEAR(exponential(80 * x) / std::exp(80 * x), 1, 16 * kFew);
    EXPECT_NEAR(logarithm(1.0625 + x), std::log(1.0625 + x), kFew * 3);
  }
}

TEST(Elementary, KnowsTheEndsOfItsRanges) {
  EXPECT_EQ(arc_cosine(1), 0);
  EXPECT_TRUE(std::isnan(arc_cosine(1.5)));
  EXPECT_EQ(exponential(-1000), 0);
  EXPECT_EQ(exponential(1000), HUGE_VAL);
  EXPECT_EQ(logarithm(1), 0);
}

}  // namespace
}  // namespace hieron::mergekit
