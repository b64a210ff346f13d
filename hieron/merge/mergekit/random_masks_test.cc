#include "hieron/merge/mergekit/random_masks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "hieron/merge/mergekit/replay.h"

namespace hieron::mergekit {
namespace {

constexpr size_t kRows = 6, kColumns = 40, kElements = kRows * kColumns;
constexpr double kDensity = 0.53, kEpsilon = 0.1;

// Two models' changes of a base that is zero.
struct Changes {
  Values first = Values(kElements), second = Values(kElements);
};

// No change is zero, and few magnitudes of a row are equal.
Values noise(DType dtype) {
  std::mt19937 random(4);
  Values d(kElements);
  for (float& x : d) {
    x = Rounding(dtype)(static_cast<float>(static_cast<int32_t>(random())) * 0x1p-34f + 0x1p-20f);
  }
  return d;
}

std::vector<std::byte> stored(DType dtype, const Values& values) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(info(dtype).bits) / 8);
  store_values(dtype, values, bytes.data());
  return bytes;
}

// Which elements of their sum replay() keeps: all that are not zero.
std::vector<SeenElement> kept(std::string_view method, DType dtype, uint64_t seed,
                              const Changes& changes) {
  std::vector<std::vector<std::byte>> models{stored(dtype, Values(kElements)),
                                             stored(dtype, changes.first),
                                             stored(dtype, changes.second)};
  std::vector<Operand> operands;
  for (const auto& model : models) operands.push_back({dtype, model.data()});
  const ParameterMap each{{"weight", 1}, {"density", kDensity}, {"epsilon", kEpsilon}};
  const TensorParameters parameters{.per_model = {{}, each, each}, .global = {}};
  std::vector<std::byte> out(models[0].size());
  EXPECT_TRUE(replay({.version = Version::k015,
                      .method = method,
                      .tensor = "model.w",
                      .parameters = &parameters,
                      .operands = operands,
                      .base = 0,
                      .working = dtype,
                      .shape = {kRows, kColumns},
                      .elements = kElements,
                      .seed = seed,
                      .first_word = 0},
                     out));
  const Values merged = values_of({dtype, out.data()}, kElements);
  std::vector<SeenElement> seen;
  for (uint64_t i = 0; i < kElements; ++i) seen.push_back({i, merged[i] != 0});
  return seen;
}

Values probabilities(std::string_view method, DType dtype, const Values& d) {
  if (method.starts_with("dare")) return {dare_probability(kDensity, dtype)};
  return della_probabilities(d, {kRows, kColumns}, kDensity, kEpsilon, dtype);
}

std::vector<SeedHit> search_near(uint32_t seed, const std::vector<MaskObservation>& seen) {
  const uint64_t middle = seed;
  const SeedRange range{middle - std::min<uint64_t>(middle, 20'000),
                        std::min(middle + 20'000, kAllSeeds.last)};
  return search_seeds(std::vector<std::vector<MaskObservation>>{seen}, {.seeds = range}).hits;
}

struct Case {
  std::string_view method;
  DType dtype;
};

class RandomMasks : public testing::TestWithParam<Case> {};

TEST_P(RandomMasks, TellTheSeedThatTheReplayDrewThemWith) {
  const auto [method, dtype] = GetParam();
  const Values d = noise(dtype);
  for (const uint32_t seed : {42u, 4294967291u}) {
    auto seen = kept(method, dtype, seed, {.first = d});
    for (const size_t i : {17, 120}) seen[i].kept = !seen[i].kept;
    const auto found =
        search_near(seed, mask_observations(seen, probabilities(method, dtype, d), 0));
    ASSERT_EQ(found.size(), 1);
    EXPECT_EQ(found[0].seed, seed);
    EXPECT_EQ(found[0].wrong, 2);
    EXPECT_EQ(found[0].observed, kElements);
  }
}

TEST_P(RandomMasks, TellNothingIfTheirLabelsAreShuffled) {
  const auto [method, dtype] = GetParam();
  const Values d = noise(dtype);
  auto seen = kept(method, dtype, 42, {.first = d});
  std::mt19937 random(6);
  for (size_t i = kElements - 1; i > 0; --i) std::swap(seen[i].kept, seen[random() % i].kept);
  EXPECT_TRUE(search_near(42, mask_observations(seen, probabilities(method, dtype, d), 0)).empty());
}

TEST_P(RandomMasks, OfTheSecondModelGoOnInTheStream) {
  const auto [method, dtype] = GetParam();
  const Values d = noise(dtype);
  const auto seen = kept(method, dtype, 42, {.second = d});
  const Values p = probabilities(method, dtype, d);
  const auto found = search_near(42, mask_observations(seen, p, kElements));
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].wrong, 0);
  EXPECT_TRUE(search_near(42, mask_observations(seen, p, 0)).empty());
}

std::string name_of(const testing::TestParamInfo<Case>& about) {
  return std::string(about.param.method) + "_" + std::string(info(about.param.dtype).name);
}

INSTANTIATE_TEST_SUITE_P(
    Methods, RandomMasks,
    testing::Values(Case{"dare_linear", DType::kBF16}, Case{"dare_ties", DType::kF32},
                    Case{"dare_linear", DType::kF16}, Case{"della_linear", DType::kBF16},
                    Case{"della", DType::kF16}, Case{"della_linear", DType::kF32}),
    name_of);

TEST(DellaProbabilities, OfTheFirstRowsAreThoseOfTheWhole) {
  const Values d = noise(DType::kBF16);
  const Values whole = della_probabilities(d, {kRows, kColumns}, 0.5, 0.2, DType::kBF16);
  const Values start =
      della_probabilities(std::span(d).first(2 * kColumns), {2, kColumns}, 0.5, 0.2, DType::kBF16);
  EXPECT_TRUE(std::ranges::equal(start, std::span(whole).first(2 * kColumns)));
}

}  // namespace
}  // namespace hieron::mergekit
