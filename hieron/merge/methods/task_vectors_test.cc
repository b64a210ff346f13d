// The task-vector methods against the formulas written down once more, slowly, in long double.
#include "hieron/merge/methods/task_vectors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "hieron/merge/methods/magnitude_order.h"
#include "hieron/merge/methods/random_mask.h"
#include "hieron/merge/methods/run_method_test.h"
#include "hieron/merge/methods/table.h"

namespace hieron {
namespace {

// bf16 values with many equal magnitudes of change, as real fine-tunes have them.
struct Family {
  explicit Family(size_t n, size_t models, DType type = DType::kBF16) : dtype(type) {
    std::mt19937 random(static_cast<unsigned>(n + models));
    std::normal_distribution<double> normal(0, 0.05);
    const auto stored = [&](double v) { return decode(type, encode(type, v)); };
    for (size_t i = 0; i < n; ++i) base.push_back(stored(normal(random)));
    changed.resize(models);
    for (auto& model : changed) {
      for (double b : base) model.push_back(stored(b + 0.02 * normal(random)));
    }
  }
  std::vector<StoredValues> inputs() const {
    std::vector<StoredValues> all;
    for (const auto& model : changed) all.emplace_back(dtype, model);
    all.emplace_back(dtype, base);
    return all;
  }
  DType dtype;
  std::vector<double> base;
  std::vector<std::vector<double>> changed;
};

TensorTask task_of(const std::vector<ParameterMap>& models, ParameterMap global, DType out) {
  TensorParameters parameters{models, std::move(global)};
  parameters.per_model.emplace_back();  // the base
  return {.name = "w",
          .shape = {},
          .elements = 0,
          .parameters = std::make_shared<const TensorParameters>(std::move(parameters)),
          .inputs = {},
          .base = models.size(),
          .out = out,
          .arithmetic = Arithmetic::kExact,
          .seed = 5};
}

using Keep = std::vector<std::vector<bool>>;

// Positions [from, to) of the order: larger |d| first, equal ones by index.
std::vector<bool> ranked(const Family& family, size_t model, size_t from, size_t to) {
  std::vector<size_t> order(family.base.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto size = [&](size_t i) {
    return std::fabs(static_cast<float>(family.changed[model][i] - family.base[i]));
  };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return size(a) > size(b); });
  std::vector<bool> keep(order.size());
  for (size_t r = from; r < to; ++r) keep[order[r]] = true;
  return keep;
}

struct Sum {
  std::vector<double> weights;
  double lambda = 1;
  bool normalize = false, elect = false;
  std::vector<long double> factors{};
};

std::vector<double> expected(const Family& family, const Keep& keep, const Sum& sum, DType out) {
  std::vector<double> result;
  for (size_t i = 0; i < family.base.size(); ++i) {
    const long double b = family.base[i];
    std::vector<long double> v;
    long double votes = 0;
    for (size_t k = 0; k < keep.size(); ++k) {
      const long double factor = sum.factors.empty() ? 1 : sum.factors[k];
      v.push_back(keep[k][i] ? sum.weights[k] * factor * (family.changed[k][i] - b) : 0.0L);
      votes += v.back();
    }
    long double total = 0, divisor = 0;
    for (size_t k = 0; k < keep.size(); ++k) {
      const bool stays = !sum.elect || (votes >= 0 ? v[k] > 0 : v[k] < 0);
      if (!stays) continue;
      total += v[k];
      divisor += sum.weights[k];
    }
    if (!sum.normalize || divisor == 0) divisor = 1;
    const long double value = b + sum.lambda * total / divisor;
    // Through f64, rounded to odd, so that the last rounding is the only one.
    double near = static_cast<double>(value);
    const long double rest = value - near;
    if (rest != 0 && (std::bit_cast<uint64_t>(near) & 1) == 0)
      near = std::nextafter(near, rest > 0 ? INFINITY : -INFINITY);
    result.push_back(decode(out, encode(out, near)));
  }
  return result;
}

size_t different(const std::vector<double>& a, const std::vector<double>& b) {
  size_t n = 0;
  for (size_t i = 0; i < a.size(); ++i) n += a[i] != b[i];
  return n;
}

TEST(Ties, KeepsTheLargestChangesAndElectsASign) {
  for (const DType out : {DType::kBF16, DType::kF32, DType::kF16}) {
    const Family family(200'001, 3);
    const TensorTask task = task_of({{{"weight", 0.6}, {"density", 0.4}},
                                     {{"weight", 0.4}, {"density", 0.7}},
                                     {{"weight", 0.5}, {"density", 0.1}}},
                                    {{"normalize", 1}, {"lambda", 0.9}}, out);
    const size_t n = family.base.size();
    const auto share = [n](double d) { return static_cast<size_t>(d * static_cast<double>(n)); };
    const Keep keep{ranked(family, 0, 0, share(0.4)), ranked(family, 1, 0, share(0.7)),
                    ranked(family, 2, 0, share(0.1))};
    const auto wanted = expected(
        family, keep, {.weights = {0.6, 0.4, 0.5}, .lambda = 0.9, .normalize = true, .elect = true},
        out);
    const auto made = run_method(ties(), task, family.inputs());
    EXPECT_EQ(different(made, wanted), 0u) << info(out).name;
    EXPECT_EQ(run_method(ties(), task, family.inputs(), 4096, true), made);
  }
}

TEST(Ties, CountsSmallTensorsLikeLargeOnes) {
  const Family family(5000, 2);
  const TensorTask task =
      task_of({{{"weight", 1}, {"density", 0.5}}, {{"weight", 1}, {"density", 0.5}}},
              {{"normalize", 1}}, DType::kBF16);
  const Keep keep{ranked(family, 0, 0, 2500), ranked(family, 1, 0, 2500)};
  EXPECT_EQ(different(run_method(ties(), task, family.inputs(), 4096),
                      expected(family, keep, {.weights = {1, 1}, .normalize = true, .elect = true},
                               DType::kBF16)),
            0u);
}

TEST(Ties, DoesNotDependOnTheOrderOfTheModels) {
  Family family(100'000, 3);
  const std::vector<ParameterMap> models{{{"weight", 0.1}, {"density", 0.5}},
                                         {{"weight", 0.2}, {"density", 0.5}},
                                         {{"weight", 0.3}, {"density", 0.5}}};
  const auto made =
      run_method(ties(), task_of(models, {{"normalize", 1}}, DType::kBF16), family.inputs());
  std::swap(family.changed[0], family.changed[2]);
  EXPECT_EQ(run_method(ties(),
                       task_of({models[2], models[1], models[0]}, {{"normalize", 1}}, DType::kBF16),
                       family.inputs()),
            made);
}

TEST(Breadcrumbs, DropsOutliersAndSmallChanges) {
  const Family family(150'000, 2);
  const TensorTask task = task_of({{{"weight", 0.6}, {"density", 0.7}, {"gamma", 0.02}},
                                   {{"weight", 0.4}, {"density", 0.99}, {"gamma", 0.05}}},
                                  {}, DType::kBF16);
  // 0.99 and 0.05 leave no room: only 0.01 of the outliers are dropped.
  const Keep keep{ranked(family, 0, 3000, 108'000), ranked(family, 1, 1500, 150'000)};
  EXPECT_EQ(different(run_method(breadcrumbs(), task, family.inputs(), 8192),
                      expected(family, keep, {.weights = {0.6, 0.4}}, DType::kBF16)),
            0u);
}

TEST(TaskArithmetic, IsTheFormulaCorrectlyRounded) {
  const Family family(50'000, 2);
  const Keep all(2, std::vector<bool>(family.base.size(), true));
  const TensorTask plain =
      task_of({{{"weight", 0.7}}, {{"weight", 0.5}}}, {{"lambda", 0.8}}, DType::kBF16);
  // λ·w is one f64 number, as in the method.
  EXPECT_EQ(different(run_method(task_arithmetic(), plain, family.inputs()),
                      expected(family, all, {.weights = {0.8 * 0.7, 0.8 * 0.5}}, DType::kBF16)),
            0u);
  const TensorTask mean =
      task_of({{{"weight", 0.7}}, {{"weight", 0.5}}}, {{"normalize", 1}}, DType::kBF16);
  EXPECT_EQ(
      different(run_method(task_arithmetic(), mean, family.inputs()),
                expected(family, all, {.weights = {0.7, 0.5}, .normalize = true}, DType::kBF16)),
      0u);
}

TEST(Dare, KeepsTheSameElementsForAnyCutAndTheL1Norm) {
  const Family family(300'000, 2);
  const TensorTask task =
      task_of({{{"weight", 1}, {"density", 0.3}}, {{"weight", 0}, {"density", 1}}},
              {{"rescale", 1}}, DType::kF32);
  const auto made = run_method(dare_linear(), task, family.inputs());
  EXPECT_EQ(run_method(dare_linear(), task, family.inputs(), 4096, true), made);
  size_t kept = 0, changed = 0;
  double before = 0, after = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    const double d = family.changed[0][i] - family.base[i];
    before += std::fabs(d);
    after += std::fabs(made[i] - family.base[i]);
    changed += d != 0;
    kept += made[i] != family.base[i];
  }
  EXPECT_NEAR(after / before, 1, 1e-4);
  EXPECT_NEAR(static_cast<double>(kept) / static_cast<double>(changed), 0.3, 0.01);
}

TEST(Dare, AnotherSeedKeepsOthers) {
  const Family family(10'000, 1);
  TensorTask task = task_of({{{"weight", 1}, {"density", 0.5}}}, {}, DType::kF32);
  const auto made = run_method(dare_linear(), task, family.inputs());
  task.seed = 6;
  EXPECT_NE(run_method(dare_linear(), task, family.inputs()), made);
  task.name = "v";
  task.seed = 5;
  EXPECT_NE(run_method(dare_linear(), task, family.inputs()), made);
}

TEST(Della, KeepsLargeChangesMoreOften) {
  const Family family(512 * 600, 1, DType::kF32);
  TensorTask task =
      task_of({{{"weight", 1}, {"density", 0.5}, {"epsilon", 0.3}}}, {{"rescale", 0}}, DType::kF32);
  task.shape = {512, 600};
  const auto made = run_method(della_linear(), task, family.inputs());
  EXPECT_EQ(run_method(della_linear(), task, family.inputs(), 600, true), made);
  // By the rank of a change in its row: the lower and the upper half.
  size_t low = 0, high = 0;
  for (size_t row = 0; row < 512; ++row) {
    std::vector<std::pair<double, bool>> changes;
    for (size_t i = row * 600; i < (row + 1) * 600; ++i) {
      changes.emplace_back(std::fabs(family.changed[0][i] - family.base[i]),
                           made[i] != family.base[i]);
    }
    std::ranges::sort(changes);
    for (size_t r = 0; r < 600; ++r) (r < 300 ? low : high) += changes[r].second;
  }
  EXPECT_NEAR(static_cast<double>(low) / (512 * 300), 0.35, 0.02);
  EXPECT_NEAR(static_cast<double>(high) / (512 * 300), 0.65, 0.02);
}

// DELLA for a tensor whose masks are too large to be held.
class DrawnTwice final : public Method {
 public:
  const MethodInfo& describe() const override { return della().describe(); }
  std::unique_ptr<TensorWork> start(const TensorTask& task) const override {
    return task_vector_work(task, {Sparsify::kRanked, true, 0});
  }
};

TEST(Della, MasksThatAreNotHeldAreTheSame) {
  const Family family(301 * 600, 2);
  for (double rescale : {0.0, 1.0}) {
    TensorTask task = task_of({{{"weight", 1}, {"density", 0.5}}, {{"weight", 0.5}}},
                              {{"rescale", rescale}}, DType::kBF16);
    task.shape = {301, 600};
    const auto held = run_method(della(), task, family.inputs(), 4200);
    EXPECT_EQ(run_method(DrawnTwice(), task, family.inputs(), 9000, true), held);
    EXPECT_NE(held, family.base);
  }
}

TEST(Sce, FindsTheMostDisputedElements) {
  const Family family(90'000, 3);
  const TensorTask task = task_of({{}, {}, {}}, {{"select_topk", 0.3}}, DType::kBF16);
  const auto made = run_method(sce(), task, family.inputs(), 4096, true);
  // Elements of which nothing was selected are the base's.
  size_t touched = 0;
  for (size_t i = 0; i < made.size(); ++i) touched += made[i] != family.base[i];
  EXPECT_LT(touched, 27'001u);
  EXPECT_GT(touched, 20'000u);
  EXPECT_EQ(run_method(sce(), task, family.inputs()), made);
}

TEST(Ram, KeepsLoneChangesAndAveragesShared) {
  const TensorTask task = task_of({{}, {}}, {{"epsilon", 0.5}}, DType::kF32);
  EXPECT_EQ(
      run_method(ram(), task,
                 {{DType::kF32, {2, 3, 1.25}}, {DType::kF32, {1, 7, 1}}, {DType::kF32, {1, 1, 1}}}),
      (std::vector<double>{2, 5, 1}));
  TensorTask plus = task_of({{}, {}}, {{"epsilon", 0.5}, {"r", 0.5}, {"alpha", 0.4}}, DType::kF32);
  // Model 0: one change of its own, one shared: 1 + 0.5·0.4.
  EXPECT_EQ(
      run_method(ramplus_tl(), plus,
                 {{DType::kF32, {2, 3, 1}}, {DType::kF32, {1, 7, 1}}, {DType::kF32, {1, 1, 1}}}),
      (std::vector<double>{2.2000000476837158, 5, 1}));
}

TEST(Nearswap, MovesTheBaseByAtMostT) {
  TensorTask task = task_of({{}}, {{"t", 0.25}}, DType::kF32);
  EXPECT_EQ(run_method(nearswap(), task, {{DType::kF32, {1.125, 3, -2}}, {DType::kF32, {1, 1, 1}}}),
            (std::vector<double>{1.125, 1.25, 0.75}));
}

TEST(ArceeFusion, TakesOnlyWhatIsFarOut) {
  Family family(64 * 512, 1);
  for (size_t i = 0; i < 40; ++i) family.changed[0][i * 700] += 4;
  TensorTask task = task_of({{}}, {}, DType::kBF16);
  task.shape = {64, 512};
  const auto made = run_method(arcee_fusion(), task, family.inputs());
  EXPECT_EQ(run_method(arcee_fusion(), task, family.inputs(), 512, true), made);
  size_t taken = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_TRUE(made[i] == family.base[i] ||
                made[i] == decode(DType::kBF16, encode(DType::kBF16, family.changed[0][i])));
    taken += made[i] != family.base[i];
  }
  for (size_t i = 0; i < 40; ++i) EXPECT_NE(made[i * 700], family.base[i * 700]);
  EXPECT_LT(taken, made.size() / 4);
}

TEST(Civitai, AddsWhatTheSecondModelLearned) {
  const std::vector<StoredValues> abc{
      {DType::kF32, {1, 2}}, {DType::kF32, {4, 2}}, {DType::kF32, {2, 1}}};
  EXPECT_EQ(run_method(add_difference(), task_of({{}, {}}, {{"alpha", 0.5}}, DType::kF32), abc),
            (std::vector<double>{2, 2.5}));
  EXPECT_EQ(run_method(weighted_sum(), task_of({{}, {}}, {{"alpha", 0.25}}, DType::kF32),
                       {abc[0], abc[1]}),
            (std::vector<double>{1.75, 2}));
  // |B − A| = 3, |B − C| = 2: 1 + 1.8·0.5·2·3/5.
  EXPECT_FLOAT_EQ(
      static_cast<float>(
          run_method(train_difference(), task_of({{}, {}}, {{"alpha", 0.5}}, DType::kF32), abc)[0]),
      2.08f);
}

TEST(TaskVectors, RefuseParametersWithoutSense) {
  const auto refused = [](const Method& method, ParameterMap model, ParameterMap global) {
    return method.check(task_of({std::move(model)}, std::move(global), DType::kBF16)).has_value();
  };
  EXPECT_TRUE(refused(ties(), {{"weight", 1}, {"density", 1.5}}, {}));
  EXPECT_TRUE(refused(della(), {{"weight", 1}, {"density", 0.1}, {"epsilon", 0.15}}, {}));
  EXPECT_FALSE(refused(della(), {{"weight", 1}, {"density", 1}, {"epsilon", 0.15}}, {}));
  EXPECT_TRUE(refused(breadcrumbs(), {{"weight", 1}, {"density", 0.5}, {"gamma", -1}}, {}));
  EXPECT_TRUE(refused(task_arithmetic(), {{"weight", 0}}, {{"normalize", 1}}));
}

// Inputs of F64 take loops of their own; so do more than four models.
TEST(TaskVectors, GiveTheSameForTheSameNumbersInAWiderType) {
  const ParameterMap one{{"weight", 0.6}, {"density", 0.5}, {"gamma", 0.02}},
      two{{"weight", 0.4}, {"density", 0.7}, {"gamma", 0.01}};
  for (const Method* method : {&ties(), &breadcrumbs(), &breadcrumbs_ties(), &dare_linear(),
                               &dare_ties(), &della(), &della_linear()}) {
    for (const DType type : {DType::kBF16, DType::kF16, DType::kF32}) {
      const Family family(150'000, 2, type);
      for (const double normalize : {0.0, 1.0}) {
        TensorTask task = task_of(
            {one, two}, {{"rescale", 1}, {"normalize", normalize}, {"lambda", 0.9}}, DType::kBF16);
        task.shape = {500, 300};
        std::vector<StoredValues> wide;
        for (const auto& model : family.changed) wide.emplace_back(DType::kF64, model);
        wide.emplace_back(DType::kF64, family.base);
        EXPECT_EQ(run_method(*method, task, family.inputs(), 4200),
                  run_method(*method, task, wide, 4200))
            << method->describe().name << " of " << info(type).name;
      }
    }
  }
}

TEST(Ties, HoldsForMoreThanFourModels) {
  const Family family(20'000, 6);
  const std::vector<double> weights{0.31, 0.17, 0.23, 0.41, 0.29, 0.13};
  Keep keep;
  std::vector<ParameterMap> models;
  for (size_t k = 0; k < weights.size(); ++k) {
    models.push_back({{"weight", weights[k]}, {"density", 0.5}});
    keep.push_back(ranked(family, k, 0, 10'000));
  }
  EXPECT_EQ(different(run_method(ties(), task_of(models, {{"normalize", 1}}, DType::kBF16),
                                 family.inputs()),
                      expected(family, keep, {.weights = weights, .normalize = true, .elect = true},
                               DType::kBF16)),
            0u);
}

// The mask as documented: element i is kept if its word is below its rank's share of 2^32.
std::vector<uint8_t> ranked_mask(uint64_t first, std::span<const uint32_t> keys, double density,
                                 double epsilon) {
  const size_t n = keys.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::reverse(order);  // of equal keys the higher index is the smaller
  std::ranges::stable_sort(order, {}, [&](size_t i) { return keys[i]; });
  Seed seed;
  seed.bytes.back() = 5;
  std::vector<uint32_t> words(n);
  Prf(seed, "merge mask 1 w").fill(first, words);
  std::vector<uint8_t> keep(n);
  for (size_t rank = 0; rank < n; ++rank) {
    const double chance =
        n == 1 ? density
               : density - epsilon +
                     2 * epsilon / static_cast<double>(n - 1) * static_cast<double>(rank);
    const auto border = static_cast<uint64_t>(std::clamp(chance, 0.0, 1.0) * 0x1p32);
    keep[order[rank]] = words[order[rank]] < border;
  }
  return keep;
}

TEST(RandomMask, RanksRowsOfAnyLengthAndAnyKeys) {
  std::mt19937 random(8);
  const RandomMask mask(5, "w", 1);
  WorkScratch scratch;
  for (const size_t n : {1, 2, 3, 100, 511, 4096, 5000}) {
    std::vector<uint32_t> keys(n);
    // Few values; f32 of one binade, of all; close together, so that bins are of no use; one key.
    const std::vector<std::pair<uint32_t, uint32_t>> ranges{{7u << 20, 0xFFF00000},
                                                            {0x3F800000, 0x7FFFFF},
                                                            {0, 0x7F7FFFFF},
                                                            {0x3F800000, 0xFF},
                                                            {0x3F800000, 0}};
    for (const auto& [from, bits] : ranges) {
      for (uint32_t& key : keys)
        key = (from + (static_cast<uint32_t>(random()) & bits)) & 0x7FFFFFFF;
      for (size_t i = 0; i < n; i += 3) keys[i] = bits == 0 ? keys[i] : 0;
      for (const auto& [density, epsilon] : {std::pair(0.5, 0.3), {0.85, 0.15}, {0.5, -0.2}}) {
        std::vector<uint8_t> keep(n);
        mask.choose_ranked(77, keys, density, epsilon, keep.data(), scratch);
        ASSERT_EQ(keep, ranked_mask(77, keys, density, epsilon))
            << n << ", " << from << ", " << bits;
      }
    }
  }
}

TEST(MagnitudeOrder, KnowsTheLeastKeyBeforeABorderInAllLeavesButOne) {
  constexpr size_t kLeaves = 20, kLeafSize = 4096, n = kLeaves * kLeafSize;
  std::vector<uint32_t> keys(n);
  for (size_t i = 0; i < n; ++i) keys[i] = static_cast<uint32_t>(i * 7919 % 5) << 20;
  MagnitudeOrder order(n, std::vector{uint64_t{n / 2}});
  WorkScratch scratch;
  while (order.wants_pass()) {
    order.look(0, keys, scratch);
    order.end_pass();
  }
  size_t unknown = 0;
  std::vector<uint8_t> flags(n);
  order.before(0, 0, keys, flags.data());
  for (size_t leaf = 0; leaf < kLeaves; ++leaf) {
    const auto least = order.least_before(0, leaf);
    unknown += !least;
    for (size_t i = leaf * kLeafSize; least && i < (leaf + 1) * kLeafSize; ++i) {
      ASSERT_EQ(flags[i], keys[i] >= *least) << i;
    }
  }
  EXPECT_EQ(unknown, 1u);
}

TEST(MagnitudeOrder, FindsBordersAmongEqualKeys) {
  for (const size_t n : {size_t{10'000}, size_t{200'000}}) {
    std::vector<uint32_t> keys(n);
    for (size_t i = 0; i < n; ++i) keys[i] = static_cast<uint32_t>(i * 7919 % 5) << 20;
    for (const uint64_t position : {uint64_t{1}, uint64_t{n / 3}, uint64_t{n - 1}}) {
      MagnitudeOrder order(n, std::vector{position});
      WorkScratch scratch;
      while (order.wants_pass()) {
        order.look(4096, std::span(keys).subspan(4096), scratch);
        order.look(0, std::span(keys).first(4096), scratch);
        order.end_pass();
      }
      std::vector<uint8_t> flags(n);
      order.before(0, 0, keys, flags.data());
      EXPECT_EQ(static_cast<uint64_t>(std::ranges::count(flags, 1)), position);
      std::vector<size_t> indices(n);
      std::iota(indices.begin(), indices.end(), size_t{0});
      std::ranges::stable_sort(indices, [&](size_t a, size_t b) { return keys[a] > keys[b]; });
      for (size_t r = 0; r < n; ++r) ASSERT_EQ(flags[indices[r]], r < position);
    }
  }
}

}  // namespace
}  // namespace hieron
