// The fused loops against round_delta and sign_of_delta, element by element and bit by bit.
#include "hieron/kernels/changes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "hieron/kernels/decode.h"
#include "hieron/kernels/round_delta.h"

namespace hieron {
namespace {

constexpr size_t kMost = kMostChangedModels;

// Values of a format, and changes of them: of a few steps, as fine-tunes have them, or anything at
// all: zeros of both signs, subnormals, powers of two, the ends of the range.
class Inputs {
 public:
  Inputs(DType dtype, unsigned seed) : dtype_(dtype), random_(seed) {}

  float base() {
    switch (pick(8)) {
      case 0:
        return anything();
      case 1:
        return stored(std::ldexp(pick(2) ? 1.0 : -1.0, static_cast<int>(pick(40)) - 30));
      default:
        return stored(normal_(random_));
    }
  }
  float near(float base) {
    const float changed = changed_from(base);
    return std::isfinite(changed) ? changed : base;
  }

 private:
  size_t pick(size_t n) { return random_() % n; }
  float stored(double value) { return static_cast<float>(decode(dtype_, encode(dtype_, value))); }
  float changed_from(float base) {
    switch (pick(8)) {
      case 0:
        return anything();
      case 1:
        return base;
      case 2:
        return stored(base + 0.1 * normal_(random_));
      default:
        return stored(base * (1 + 0x1p-8 * (static_cast<double>(pick(9)) - 4)));
    }
  }
  float anything() {
    for (;;) {
      const uint64_t bits = random_() & ((uint64_t{1} << info(dtype_).bits) - 1);
      const double value = decode(dtype_, bits >> pick(2) * pick(12));
      if (std::isfinite(value)) return static_cast<float>(value);
    }
  }

  const DType dtype_;
  std::mt19937 random_;
  std::normal_distribution<double> normal_{0, 0.05};
};

struct Strip {
  Strip(DType dtype, size_t n, unsigned seed) : base(n) {
    Inputs inputs(dtype, seed);
    for (float& b : base) b = inputs.base();
    for (size_t m = 0; m < kMost; ++m) {
      for (float b : base) x[m].push_back(inputs.near(b));
      // Equal and opposite changes: votes that cancel.
      for (size_t i = 0; m > 0 && i < n; i += 7) {
        const float mirrored = base[i] - (x[m - 1][i] - base[i]);
        x[m][i] = static_cast<float>(decode(dtype, encode(dtype, double{mirrored})));
        if (!std::isfinite(x[m][i])) x[m][i] = base[i];
      }
    }
  }
  std::array<const float*, kMost> values() const {
    return {x[0].data(), x[1].data(), x[2].data(), x[3].data()};
  }
  std::vector<float> base;
  std::array<std::vector<float>, kMost> x;
};

// The definition, for one element.
uint64_t merged(const ChangeSum& sum, const Strip& strip, size_t i, DType out) {
  const double base = strip.base[i];
  std::vector<double> x, c, l, w;
  for (size_t m = 0; m < sum.models; ++m) {
    x.push_back(strip.x[m][i]);
    c.push_back(sum.c[m]);
  }
  const int side = sum.elect ? sign_of_delta(base, x, c) : 0;
  for (size_t m = 0; m < sum.models; ++m) {
    const double vote = c[m] * (x[m] - base);
    const bool stays = !sum.elect || (side >= 0 ? vote > 0 : vote < 0);
    l.push_back(stays ? sum.l[m] : 0);
    w.push_back(stays ? sum.w[m] : 0);
  }
  std::vector<const double*> values, coefficients, weights;
  for (size_t m = 0; m < sum.models; ++m) {
    values.push_back(&x[m]);
    coefficients.push_back(&l[m]);
    if (sum.divide) weights.push_back(&w[m]);
  }
  std::array<std::byte, 8> stored{};
  std::vector<double> scratch;
  round_delta({&base, values, coefficients, weights}, out, stored.data(), 1, scratch);
  return load_bits(out, stored.data(), 0);
}

struct Verdict {
  size_t decided = 0, wrong = 0;
};

Verdict judge(const ChangeSum& sum, const Strip& strip, DType out, Isa isa) {
  const size_t n = strip.base.size();
  std::vector<std::byte> made(n * 4);
  std::vector<uint32_t> open(kChangeStrip);
  open.resize(round_changes(sum, strip.base, strip.values(), out, made.data(), open.data(), isa));
  Verdict verdict;
  for (uint32_t i = 0; i < n; ++i) {
    if (std::ranges::binary_search(open, i)) continue;
    ++verdict.decided;
    verdict.wrong += load_bits(out, made.data(), i) != merged(sum, strip, i, out);
  }
  return verdict;
}

std::vector<ChangeSum> sums() {
  using Numbers = std::array<double, kMost>;
  std::vector<ChangeSum> all;
  for (size_t models = 1; models <= kMost; ++models) {
    for (const Numbers& w :
         {Numbers{0.6, 0.4, 0.3, 0.1}, Numbers{0.5, 0.5, 0.5, 0.5}, Numbers{1, 1, 1, 1},
          Numbers{1, -0.5, 0.25, 1}, Numbers{0.1, 0.2, -0.3, 1}, Numbers{1, -1, 1e-30, 1e30}}) {
      for (const double scale : {1.0, 2.0, 0.9, 0.0}) {
        Numbers l = w;
        for (double& v : l) v *= scale;
        all.push_back({.models = models, .c = w, .l = l, .w = w});
        all.push_back({.models = models, .elect = true, .c = w, .l = l, .w = w});
        all.push_back({.models = models, .elect = true, .divide = true, .c = w, .l = l, .w = w});
      }
    }
  }
  return all;
}

TEST(RoundChanges, AreCorrectWhereTheyDecide) {
  unsigned seed = 0;
  for (const DType in : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const ChangeSum& sum : sums()) {
      const Strip strip(in, 211, ++seed);
      for (const DType out : {DType::kBF16, DType::kF16, DType::kF32}) {
        for (const Isa isa : supported_isas()) {
          ASSERT_EQ(judge(sum, strip, out, isa).wrong, 0u)
              << info(in).name << " to " << info(out).name << ", seed " << seed;
        }
      }
    }
  }
}

TEST(RoundChanges, DecideNearlyAllThatWeightsMakeUneven) {
  const Strip strip(DType::kBF16, kChangeStrip, 1);
  const ChangeSum sum{.models = 2,
                      .elect = true,
                      .divide = true,
                      .c = {0.6123, 0.4321},
                      .l = {0.6123, 0.4321},
                      .w = {0.6123, 0.4321}};
  EXPECT_GT(judge(sum, strip, DType::kBF16, best_isa()).decided, kChangeStrip * 9 / 10);
}

TEST(RoundChanges, DecideTiesAndVotesThatCancelIfWeightsAreShort) {
  const Strip strip(DType::kBF16, kChangeStrip, 1);
  ChangeSum sum{.models = 2,
                .elect = true,
                .divide = true,
                .c = {0.5, 0.5},
                .l = {0.5, 0.5},
                .w = {0.5, 0.5}};
  const size_t decided = judge(sum, strip, DType::kBF16, best_isa()).decided;
  sum.rounded_l = true;  // nothing is known to be exact
  EXPECT_GT(decided, judge(sum, strip, DType::kBF16, best_isa()).decided + kChangeStrip / 10);
}

TEST(RoundChanges, KeepTheBaseWhereNothingChanged) {
  const std::vector<float> base{-0.0f, 0.0f, 0x1p-149f, -1.5f};
  const ChangeSum sum{
      .models = 1, .elect = true, .divide = true, .c = {0.6}, .l = {0.6}, .w = {0.6}};
  for (const DType out : {DType::kBF16, DType::kF16, DType::kF32}) {
    std::vector<std::byte> made(16), wanted(16);
    std::vector<uint32_t> open(kChangeStrip);
    EXPECT_EQ(round_changes(sum, base, {base.data()}, out, made.data(), open.data()), 0u);
    encode(out, std::span<const float>(base), wanted.data());
    EXPECT_EQ(made, wanted) << info(out).name;
  }
}

TEST(ChangeSum, RefusesCoefficientsThatLeaveTheRangeOfF64) {
  EXPECT_TRUE((ChangeSum{.models = 2, .c = {0, 1e9}, .l = {0, 1e9}}.can_enclose()));
  EXPECT_FALSE((ChangeSum{.models = 2, .c = {1, 1e-300}}.can_enclose()));
  EXPECT_FALSE((ChangeSum{.models = 2, .l = {1, 1e300}}.can_enclose()));
}

TEST(ChangeKeys, AreTheF64DifferencesRoundedToF32) {
  for (const DType in : {DType::kBF16, DType::kF16, DType::kF32}) {
    const Strip strip(in, kChangeStrip, 9);
    std::vector<uint32_t> keys(kChangeStrip);
    for (const Isa isa : supported_isas()) {
      change_keys(strip.x[0], strip.base.data(), keys.data(), isa);
      for (size_t i = 0; i < keys.size(); ++i) {
        const double difference = double{strip.x[0][i]} - double{strip.base[i]};
        ASSERT_EQ(keys[i], std::bit_cast<uint32_t>(std::fabs(static_cast<float>(difference))));
      }
    }
  }
}

TEST(Keep, DropsChangesOutsideOfTheRangeOrWithoutAFlag) {
  const Strip strip(DType::kBF16, 501, 2);
  const std::vector<float>& x = strip.x[0];
  std::vector<uint32_t> keys(x.size());
  change_keys(x, strip.base.data(), keys.data());
  std::vector<uint32_t> ordered = keys;
  std::ranges::sort(ordered);
  const uint32_t least = ordered[100], below = ordered[400];
  std::vector<uint8_t> flags(x.size());
  for (size_t i = 0; i < x.size(); ++i) flags[i] = keys[i] >= least && keys[i] < below;
  std::vector<float> wanted(x.size()), made(x.size());
  for (size_t i = 0; i < x.size(); ++i) wanted[i] = flags[i] ? x[i] : strip.base[i];
  for (const Isa isa : supported_isas()) {
    keep_between(least, below, x, strip.base.data(), made.data(), isa);
    EXPECT_EQ(made, wanted);
    made = x;
    keep_flagged(flags.data(), made, strip.base.data(), made.data(), isa);
    EXPECT_EQ(made, wanted);
  }
}

TEST(AbsoluteSum, IsTheSameOfAnyStrips) {
  const Strip strip(DType::kF32, 1001, 3);
  AbsoluteSum whole;
  whole.add(strip.x[0], strip.base.data());
  for (const Isa isa : supported_isas()) {
    AbsoluteSum parts;
    const std::span<const float> x(strip.x[0]);
    parts.add(x.first(504), strip.base.data(), isa);
    parts.add(x.subspan(504), strip.base.data() + 504, isa);
    EXPECT_EQ(parts.total(), whole.total());
  }
}

}  // namespace
}  // namespace hieron
