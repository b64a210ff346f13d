// The fast ways of sce, ram and their like store what the slow one does.
#include "hieron/merge/methods/delta_arrays.h"

#include <bit>
#include <cmath>
#include <random>

#include "hieron/merge/methods/run_method_test.h"
#include "hieron/merge/methods/table.h"

namespace hieron {
namespace {

TensorTask task_of(size_t models, ParameterMap global) {
  TensorParameters parameters{std::vector<ParameterMap>(models + 1), std::move(global)};
  return {.name = "w",
          .shape = {},
          .parameters = std::make_shared<const TensorParameters>(std::move(parameters)),
          .inputs = {},
          .base = models,
          .out = DType::kBF16};
}

// Models and then the base, in values of bf16: changes of a few steps, some of zero, some to zero.
std::vector<std::vector<double>> bf16_family(size_t models, size_t elements) {
  std::mt19937_64 random(models);
  const auto below = [&](uint64_t n) { return static_cast<double>(random() % n); };
  std::vector<std::vector<double>> family(models + 1, std::vector<double>(elements));
  for (size_t i = 0; i < elements; ++i) {
    const double step = std::ldexp(1.0, -static_cast<int>(random() % 4));
    const double base = random() % 10 == 0 ? -0.0 : (150 + below(50)) * step;
    family[models][i] = base;
    for (size_t m = 0; m < models; ++m) {
      family[m][i] = random() % 10 == 0 ? 0.0 : base + (below(9) - 4) * step;
    }
  }
  return family;
}

std::vector<uint64_t> bits(const std::vector<double>& values) {
  std::vector<uint64_t> all;
  for (double value : values) all.push_back(std::bit_cast<uint64_t>(value));
  return all;
}

// f64 inputs are never enclosed: round_delta has all their elements.
void expect_same_bits(const Method& method, size_t models, const ParameterMap& global) {
  std::vector<StoredValues> narrow, wide;
  for (const auto& values : bf16_family(models, 9'001)) {
    narrow.emplace_back(DType::kBF16, values);
    wide.emplace_back(DType::kF64, values);
  }
  const TensorTask task = task_of(models, global);
  EXPECT_EQ(bits(run_method(method, task, narrow)), bits(run_method(method, task, wide)))
      << method.describe().name << " of " << models;
}

TEST(DeltaArrays, StoreOfSceWhatRoundDeltaStores) {
  for (size_t models : {1, 2, 3, 4, 6}) {
    expect_same_bits(sce(), models, {});
    expect_same_bits(sce(), models, {{"select_topk", 0.3}});
  }
}

TEST(DeltaArrays, StoreOfRamWhatRoundDeltaStores) {
  for (size_t models : {1, 2, 3, 4, 6}) {
    expect_same_bits(ram(), models, {});
    expect_same_bits(ramplus_tl(), models, {{"epsilon", 1}, {"r", 0.5}, {"alpha", 2}});
  }
}

TEST(DeltaArrays, StoreOfTrainDifferenceWhatRoundDeltaStores) {
  for (double alpha : {1.0, 0.4, 0.0, -2.0}) {
    expect_same_bits(train_difference(), 2, {{"alpha", alpha}});
  }
}

TEST(Ram, RoundsTheMeanOfTwoHalfWayToEven) {
  const std::vector<StoredValues> inputs{{DType::kBF16, {129, 131, -131}},
                                         {DType::kBF16, {130, 132, -130}},
                                         {DType::kBF16, {1, 1, 1}}};
  EXPECT_EQ(run_method(ram(), task_of(2, {}), inputs), (std::vector<double>{130, 132, -130}));
}

// The sum of b and t lies beside a midpoint of bf16 by less than f64 can say.
TEST(Nearswap, RoundsTheMovedBaseOnce) {
  const std::vector<StoredValues> inputs{{DType::kBF16, {3, -3}}, {DType::kBF16, {1, -1}}};
  EXPECT_EQ(run_method(nearswap(), task_of(1, {{"t", 0x1p-8 + 0x1p-60}}), inputs),
            (std::vector<double>{1.0078125, -1.0078125}));
  EXPECT_EQ(run_method(nearswap(), task_of(1, {{"t", 0x3p-8 - 0x1p-58}}), inputs),
            (std::vector<double>{1.0078125, -1.0078125}));
}

}  // namespace
}  // namespace hieron
