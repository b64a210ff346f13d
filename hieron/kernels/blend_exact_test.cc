// The exact blend against big rational numbers.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/blend_on.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

using Rational = boost::multiprecision::cpp_rational;

struct Case {
  Combination combination;
  std::vector<DType> dtypes;                // one per operand
  std::vector<std::vector<uint64_t>> bits;  // [operand][element]
  DType out = DType::kBF16;

  size_t count() const { return bits[0].size(); }
};

// A case over operands of one dtype, still without elements.
Case empty_case(std::vector<double> weights, bool normalize, DType dtype) {
  Case c;
  c.combination.normalize = normalize;
  c.dtypes.assign(weights.size(), dtype);
  c.bits.resize(weights.size());
  c.combination.weights = std::move(weights);
  c.out = dtype;
  return c;
}

std::vector<std::byte> packed(DType dtype, const std::vector<uint64_t>& bits) {
  std::vector<std::byte> data(bits.size() * static_cast<size_t>(info(dtype).bits) / 8);
  for (size_t i = 0; i < bits.size(); ++i) store_bits(dtype, data.data(), i, bits[i]);
  return data;
}

std::vector<uint64_t> blended(const Case& c, Isa isa = best_isa()) {
  std::vector<std::vector<std::byte>> data;
  std::vector<Operand> operands;
  for (size_t k = 0; k < c.dtypes.size(); ++k) data.push_back(packed(c.dtypes[k], c.bits[k]));
  for (size_t k = 0; k < c.dtypes.size(); ++k) operands.push_back({c.dtypes[k], data[k].data()});
  std::vector<std::byte> out(c.count() * static_cast<size_t>(info(c.out).bits) / 8);
  BlendScratch scratch;
  blend_on(isa, Arithmetic::kExact, c.combination, operands, c.out, out.data(), c.count(), scratch);
  std::vector<uint64_t> result(c.count());
  for (size_t i = 0; i < result.size(); ++i) result[i] = load_bits(c.out, out.data(), i);
  return result;
}

// The value after the largest, if the format went on: overflow begins half-way to it.
Rational value_or_beyond(DType dtype, uint64_t magnitude, uint64_t largest) {
  if (magnitude <= largest) return Rational(decode(dtype, magnitude));
  return 2 * Rational(decode(dtype, largest)) - Rational(decode(dtype, largest - 1));
}

uint64_t largest_magnitude(DType dtype) {
  uint64_t bits = (uint64_t{1} << (info(dtype).bits - 1)) - 1;
  while (non_finite(dtype, bits)) {
    // Skip the NaN patterns of wide formats in one go.
    bits = std::isnan(decode(dtype, bits)) && info(dtype).bits >= 32
               ? encode(dtype, std::numeric_limits<double>::infinity())
               : bits - 1;
  }
  return bits;
}

// The nearest stored magnitude to |q|, ties to even, by trying the neighbours of an approximation.
uint64_t nearest(DType dtype, const Rational& q) {
  const uint64_t largest = largest_magnitude(dtype);
  const Rational size = abs(q);
  const uint64_t start = encode(dtype, std::fabs(q.convert_to<double>()));
  const uint64_t around = non_finite(dtype, start) ? largest : start;
  uint64_t best = 0;
  Rational best_distance = -1;
  for (uint64_t m = around < 3 ? 0 : around - 3; m <= std::min(around + 3, largest + 1); ++m) {
    const Rational distance = abs(value_or_beyond(dtype, m, largest) - size);
    if (best_distance >= 0 && distance > best_distance) continue;
    if (distance == best_distance && m % 2 == 1) continue;
    best = m;
    best_distance = distance;
  }
  if (best <= largest) {
    const double value = decode(dtype, best);
    return encode(dtype, q < 0 ? -value : value);
  }
  const double infinity = std::numeric_limits<double>::infinity();
  return encode(dtype, q < 0 ? -infinity : infinity);
}

uint64_t oracle(const Case& c, size_t i) {
  Rational sum = 0, n = c.combination.normalize ? 0 : 1;
  bool every_product_is_minus_zero = true;
  for (size_t k = 0; k < c.dtypes.size(); ++k) {
    const double w = c.combination.weights[k], x = decode(c.dtypes[k], c.bits[k][i]);
    sum += Rational(w) * Rational(x);
    if (c.combination.normalize) n += Rational(w);
    every_product_is_minus_zero &= (w == 0 || x == 0) && std::signbit(w) != std::signbit(x);
  }
  if (sum == 0) return encode(c.out, every_product_is_minus_zero ? -0.0 : 0.0);
  return nearest(c.out, sum / n);
}

// ---- operands that are hard to blend ----

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : random_(seed) {}

  uint64_t any_finite(DType dtype) {
    for (;;) {
      const uint64_t bits = random_() >> (64 - info(dtype).bits);
      if (!non_finite(dtype, bits)) return bits;
    }
  }
  // Of the size of a weight, a few bits apart from others.
  uint64_t weight_like(DType dtype) {
    const double size = std::ldexp(1.0 + static_cast<double>(random_() % 256) / 256,
                                   -static_cast<int>(random_() % 6));
    return encode(dtype, random_() % 2 ? size : -size);
  }
  // The smallest magnitudes of the format, zero among them.
  uint64_t tiny(DType dtype) {
    const double smallest = decode(dtype, 1);
    const double size = static_cast<double>(random_() % 40) * smallest;
    return encode(dtype, random_() % 2 ? size : -size);
  }
  // Near another value: a parent a few ulps away, the same, or its negative.
  uint64_t near(DType dtype, double value) {
    const uint64_t bits = encode(dtype, random_() % 8 == 0 ? -value : value);
    const uint64_t moved = bits + random_() % 9 - 4;
    return non_finite(dtype, bits) || non_finite(dtype, moved) ||
                   moved >> 1 >> (info(dtype).bits - 1)
               ? any_finite(dtype)
               : moved;
  }
  template <class T>
  const T& one_of(const std::vector<T>& list) {
    return list[random_() % list.size()];
  }
  uint64_t operator()() { return random_(); }

 private:
  std::mt19937_64 random_;
};

const std::vector<DType> kBlendable{DType::kF8E5M2,     DType::kF8E4M3, DType::kF8E4M3FNUZ,
                                    DType::kF8E5M2FNUZ, DType::kF16,    DType::kBF16,
                                    DType::kF32,        DType::kF64};

const std::vector<std::vector<double>> kWeights{{1},
                                                {-0.25},
                                                {.5, .5},
                                                {.6, .4},
                                                {1.3, -.3},
                                                {.565, .435},
                                                {1, 1},
                                                {1, 2},
                                                {2, -3},
                                                {0, 1},
                                                {1, 1, 1},
                                                {.5, .3, .2},
                                                {.25, .25, .5},
                                                {.4, .3, .2, .1},
                                                {3, -1, -1.5},
                                                {1e-3, 1e3},
                                                {-1, .5},
                                                {1. / 3, 2. / 3},
                                                {1e-300, 3e-300},
                                                {1e300, -3e299},
                                                {1, 1e-30, -1e-30},
                                                {.1, .2, .3, .4, .5, .6, .7},
                                                {0x1p500, 0x1p500},
                                                {0x1p-500, 3 * 0x1p-500},
                                                {.3, -.30000000000001}};

Case random_case(Numbers& numbers, size_t count) {
  Case c;
  c.combination.weights = numbers.one_of(kWeights);
  if (numbers() % 4 == 0) {
    for (double& w : c.combination.weights) w = static_cast<double>(numbers() % 2000) / 1000 - .7;
  }
  double sum = 0;
  for (double w : c.combination.weights) sum += w;
  c.combination.normalize = numbers() % 3 != 0 && std::fabs(sum) > 1e-305;
  c.out = numbers.one_of(kBlendable);
  const DType shared = numbers.one_of(kBlendable);
  const bool mixed = numbers() % 3 == 0;
  const uint64_t kind = numbers() % 4;
  const auto element = [&](size_t k, size_t i) {
    const DType dtype = c.dtypes[k];
    if (kind == 0) return numbers.any_finite(dtype);
    if (kind == 1) return numbers.tiny(dtype);
    if (k > 0) return numbers.near(dtype, decode(c.dtypes[0], c.bits[0][i]));
    return kind == 2 ? numbers.weight_like(dtype) : numbers.any_finite(dtype);
  };
  for (size_t k = 0; k < c.combination.weights.size(); ++k) {
    c.dtypes.push_back(mixed ? numbers.one_of(kBlendable) : shared);
    c.bits.emplace_back();
    for (size_t i = 0; i < count; ++i) c.bits[k].push_back(element(k, i));
  }
  return c;
}

std::string show(const Case& c, size_t i) {
  std::string text = std::string(info(c.out).name) + (c.combination.normalize ? " /n" : "");
  for (size_t k = 0; k < c.dtypes.size(); ++k) {
    text += " + " + std::to_string(c.combination.weights[k]) + "·" +
            std::string(info(c.dtypes[k]).name) + ":" + std::to_string(c.bits[k][i]);
  }
  return text;
}

TEST(BlendExact, AgreesWithRationalArithmetic) {
  Numbers numbers(1);
  for (int round = 0; round < 1500; ++round) {
    const Case c = random_case(numbers, 24);
    const auto result = blended(c);
    for (size_t i = 0; i < c.count(); ++i) ASSERT_EQ(result[i], oracle(c, i)) << show(c, i);
  }
}

TEST(BlendExact, AgreesWithRationalArithmeticOnHalvesOfAllNeighbours) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF8E4M3}) {
    for (const auto& weights : {std::vector{.5, .5}, {1.0, 1.0}, {.6, .4}, {1.3, -.3}}) {
      Numbers numbers(2);
      Case c = empty_case(weights, true, dtype);
      for (int i = 0; i < 3000; ++i) {
        c.bits[0].push_back(numbers.any_finite(dtype));
        c.bits[1].push_back(numbers.near(dtype, decode(dtype, c.bits[0].back())));
      }
      const auto result = blended(c);
      for (size_t i = 0; i < c.count(); ++i) ASSERT_EQ(result[i], oracle(c, i)) << show(c, i);
    }
  }
}

TEST(BlendExact, DoesNotDependOnTheOrderOfOperands) {
  Numbers numbers(3);
  for (int round = 0; round < 300; ++round) {
    Case c = random_case(numbers, 64);
    const auto expected = blended(c);
    std::vector<size_t> order(c.dtypes.size());
    std::iota(order.begin(), order.end(), 0);
    while (std::next_permutation(order.begin(), order.end())) {
      Case permuted = c;
      for (size_t k = 0; k < order.size(); ++k) {
        permuted.combination.weights[k] = c.combination.weights[order[k]];
        permuted.dtypes[k] = c.dtypes[order[k]];
        permuted.bits[k] = c.bits[order[k]];
      }
      ASSERT_EQ(blended(permuted), expected);
      if (order.size() > 4) break;
    }
  }
}

TEST(BlendExact, GivesTheSameBitsOnEveryIsa) {
  Numbers numbers(4);
  for (int round = 0; round < 300; ++round) {
    const Case c = random_case(numbers, 100);
    const auto expected = blended(c, Isa::kBaseline);
    for (const Isa isa : supported_isas()) ASSERT_EQ(blended(c, isa), expected);
  }
}

TEST(BlendExact, IsTheIdentityForOneInputOfAnyWeight) {
  for (const DType dtype : kBlendable) {
    if (info(dtype).bits > 16) continue;
    Case c = empty_case({0.3}, true, dtype);
    for (uint64_t bits = 0; bits < uint64_t{1} << info(dtype).bits; ++bits) {
      if (!std::isnan(decode(dtype, bits))) c.bits[0].push_back(bits);
    }
    EXPECT_EQ(blended(c), c.bits[0]) << info(dtype).name;
  }
}

TEST(BlendExact, LeavesEqualParentsEqual) {
  Case c = empty_case({.3, .7}, true, DType::kBF16);
  for (uint64_t bits = 0; bits < 0x7F80; ++bits) c.bits[0].push_back(bits);
  c.bits[1] = c.bits[0];
  EXPECT_EQ(blended(c), c.bits[0]);
}

// ---- zeros, infinities, NaN ----

uint64_t bf16_of(double x) { return encode(DType::kBF16, x); }

uint64_t one(std::vector<double> weights, const std::vector<double>& x, bool normalize = false) {
  Case c = empty_case(std::move(weights), normalize, DType::kBF16);
  for (size_t k = 0; k < x.size(); ++k) c.bits[k] = {bf16_of(x[k])};
  return blended(c)[0];
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(BlendExact, ZeroIsNegativeOnlyIfEveryProductIs) {
  EXPECT_EQ(one({.6, .4}, {-0.0, -0.0}, true), 0x8000u);
  EXPECT_EQ(one({.6, .4}, {-0.0, 0.0}, true), 0x0000u);
  EXPECT_EQ(one({1.3, -.3}, {-0.0, 0.0}, true), 0x8000u);
  EXPECT_EQ(one({1, -1}, {1.5, 1.5}), 0x0000u);
  EXPECT_EQ(one({-1, 1}, {1.5, 1.5}), 0x0000u);
  EXPECT_EQ(one({0, 1}, {-3, -0.0}), 0x8000u);
  EXPECT_EQ(one({-1, -2}, {0.0, 0.0}, true), 0x8000u);
}

TEST(BlendExact, UnderflowKeepsItsSign) {
  EXPECT_EQ(one({-.25}, {0x1p-133}), 0x8000u);
  EXPECT_EQ(one({.25}, {0x1p-133}), 0x0000u);
}

TEST(BlendExact, PropagatesInfinitiesAndNaN) {
  EXPECT_EQ(one({.6, .4}, {kInfinity, 1}, true), 0x7F80u);
  EXPECT_EQ(one({1.3, -.3}, {1, kInfinity}, true), 0xFF80u);
  EXPECT_EQ(one({.6, .4}, {kInfinity, -kInfinity}, true), 0x7FC0u);
  EXPECT_EQ(one({.6, .4}, {-kNaN, 1}, true), 0x7FC0u);
  EXPECT_EQ(one({0, 1}, {kInfinity, 1}, true), 0x7FC0u) << "0 times infinity";
}

TEST(BlendExact, OverflowsToInfinity) {
  EXPECT_EQ(one({1, 1}, {3e38, 3e38}), 0x7F80u);
  EXPECT_EQ(one({-1, -1}, {3e38, 3e38}), 0xFF80u);
}

TEST(BlendExact, DividesByZeroAsIeeeDoes) {
  EXPECT_EQ(one({1, -1}, {2, 1}, true), 0x7F80u);
  EXPECT_EQ(one({1, -1}, {1, 2}, true), 0xFF80u);
  EXPECT_EQ(one({1, -1}, {1, 1}, true), 0x7FC0u);
}

TEST(BlendExact, SumsOfHugeDoublesDoNotOverflowOnTheWay) {
  Case c = empty_case({1, 1, -1}, false, DType::kF64);
  const uint64_t huge = std::bit_cast<uint64_t>(1.7e308);
  c.bits = {{huge}, {huge}, {huge}};
  EXPECT_EQ(blended(c)[0], huge);
}

}  // namespace
}  // namespace hieron
