// Every model against a plain re-statement of its formula, one element at a time, from arithmetic.h
// alone.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/blend_on.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

float rounded_to(DType dtype, float x) {
  return static_cast<float>(decode(dtype, encode(dtype, double{x})));
}

// x: one value per operand, as f32.
float once(const Combination& c, const std::vector<float>& x) {
  float acc = static_cast<float>(c.weights[0]) * x[0], n = static_cast<float>(c.weights[0]);
  for (size_t k = 1; k < x.size(); ++k) {
    const float product = static_cast<float>(c.weights[k]) * x[k];
    acc = acc + product;
    n = n + static_cast<float>(c.weights[k]);
  }
  return c.normalize ? acc / n : acc;
}

float fused(const Combination& c, const std::vector<float>& x) {
  float acc = 0, n = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    acc = std::fma(x[k], static_cast<float>(c.weights[k]), acc);
    n = n + static_cast<float>(c.weights[k]);
  }
  return c.normalize ? acc / n : acc;
}

float lerp(const Combination& c, const std::vector<float>& x) {
  const double n = c.normalize ? c.weights[0] + c.weights[1] : 1;
  const float t = static_cast<float>(c.weights[0] / n);
  const float difference = x[0] - x[1];
  const float step = t * difference;
  return x[1] + step;
}

float products(DType r, const Combination& c, const std::vector<float>& x) {
  float acc = 0, n = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    const float w = rounded_to(r, static_cast<float>(c.weights[k]));
    const float product = w * rounded_to(r, x[k]);
    acc = acc + rounded_to(r, product);
    n = n + w;
  }
  const float sum = rounded_to(r, acc);
  return c.normalize ? rounded_to(r, sum / rounded_to(r, n)) : sum;
}

float delta(DType r, const Combination& c, const std::vector<float>& x) {
  const float base = rounded_to(r, x.back());
  float acc = 0;
  for (size_t k = 0; k + 1 < x.size(); ++k) {
    const float d = rounded_to(r, rounded_to(r, x[k]) - base);
    const float product = d * rounded_to(r, static_cast<float>(c.weights[k]));
    acc = acc + rounded_to(r, product);
  }
  return rounded_to(r, base + rounded_to(r, acc));
}

float f16_once(const Combination& c, std::vector<float> x) {
  for (float& value : x) value = rounded_to(DType::kF16, value);
  return rounded_to(DType::kF16, once(c, x));
}

float restated(Arithmetic arithmetic, const Combination& c, const std::vector<float>& x) {
  switch (arithmetic) {
    case Arithmetic::kF32Once:
      return once(c, x);
    case Arithmetic::kF32Fma:
      return fused(c, x);
    case Arithmetic::kF32Lerp:
      return lerp(c, x);
    case Arithmetic::kBf16Products:
      return products(DType::kBF16, c, x);
    case Arithmetic::kBf16Delta:
      return delta(DType::kBF16, c, x);
    case Arithmetic::kF16Once:
      return f16_once(c, x);
    case Arithmetic::kF16Products:
      return products(DType::kF16, c, x);
    case Arithmetic::kF16Delta:
      return delta(DType::kF16, c, x);
    case Arithmetic::kExact:
      break;
  }
  ADD_FAILURE() << "exact has its own test";
  return 0;
}

struct Inputs {
  Combination combination;
  std::vector<DType> dtypes;
  std::vector<std::vector<std::byte>> data;
  DType out;
  size_t count;

  std::vector<Operand> operands(size_t from = 0) const {
    std::vector<Operand> list;
    for (size_t k = 0; k < data.size(); ++k) {
      list.push_back({dtypes[k], data[k].data() + from * width(dtypes[k])});
    }
    return list;
  }
  static size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }
};

const std::vector<DType> kBlendable{DType::kF8E5M2,     DType::kF8E4M3, DType::kF8E4M3FNUZ,
                                    DType::kF8E5M2FNUZ, DType::kF16,    DType::kBF16,
                                    DType::kF32,        DType::kF64};

// Patterns of all kinds (infinities, NaN and subnormals among them), or of the size of weights.
Inputs random_inputs(std::mt19937_64& random, size_t inputs, size_t count) {
  Inputs in{.combination = {{}, random() % 2 == 0},
            .dtypes = {},
            .data = {},
            .out = kBlendable[random() % kBlendable.size()],
            .count = count};
  const DType shared = kBlendable[random() % kBlendable.size()];
  const bool mixed = random() % 3 == 0, wild = random() % 3 == 0;
  for (size_t k = 0; k < inputs; ++k) {
    in.combination.weights.push_back(static_cast<double>(random() % 1000 + 1) / 1000);
    const DType dtype = mixed ? kBlendable[random() % kBlendable.size()] : shared;
    in.dtypes.push_back(dtype);
    in.data.emplace_back(count * Inputs::width(dtype));
    for (size_t i = 0; i < count; ++i) {
      const double size = std::ldexp(static_cast<double>(random() >> 11), -54 - int(random() % 8));
      const uint64_t bits =
          wild ? random() >> (64 - info(dtype).bits) : encode(dtype, random() % 2 ? size : -size);
      store_bits(dtype, in.data[k].data(), i, bits);
    }
  }
  return in;
}

std::vector<std::byte> blended(const Inputs& in, Arithmetic arithmetic, Isa isa = best_isa()) {
  std::vector<std::byte> out(in.count * Inputs::width(in.out));
  BlendScratch scratch;
  blend_on(isa, arithmetic, in.combination, in.operands(), in.out, out.data(), in.count, scratch);
  return out;
}

class EveryModel : public testing::TestWithParam<ArithmeticInfo> {
 protected:
  Arithmetic arithmetic() const { return GetParam().arithmetic; }
  size_t inputs(std::mt19937_64& random) const {
    return GetParam().two_inputs_only ? 2 : 1 + random() % 5;
  }
};

std::string model_name(const testing::TestParamInfo<ArithmeticInfo>& row) {
  std::string name(row.param.name);
  std::erase(name, '-');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Blend, EveryModel,
                         testing::ValuesIn(arithmetics().begin(), arithmetics().end()), model_name);

// `exact` has its own oracle in blend_exact_test.cc.
class EveryWrittenModel : public EveryModel {};

INSTANTIATE_TEST_SUITE_P(Blend, EveryWrittenModel,
                         testing::ValuesIn(arithmetics().begin() + 1, arithmetics().end()),
                         model_name);

TEST_P(EveryWrittenModel, ComputesItsFormula) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const Inputs in = random_inputs(random, inputs(random), 200);
    const auto out = blended(in, arithmetic());
    for (size_t i = 0; i < in.count; ++i) {
      std::vector<float> x;
      for (size_t k = 0; k < in.data.size(); ++k) {
        x.push_back(static_cast<float>(
            decode(in.dtypes[k], load_bits(in.dtypes[k], in.data[k].data(), i))));
      }
      float expected = restated(arithmetic(), in.combination, x);
      if (std::isnan(expected)) expected = std::numeric_limits<float>::quiet_NaN();
      ASSERT_EQ(load_bits(in.out, out.data(), i), encode(in.out, double{expected}))
          << info(in.out).name << " " << expected << " element " << i;
    }
  }
}

TEST_P(EveryModel, GivesTheSameBitsOnEveryIsa) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 200; ++round) {
    const Inputs in = random_inputs(random, inputs(random), 333);
    const auto expected = blended(in, arithmetic(), Isa::kBaseline);
    for (const Isa isa : supported_isas()) ASSERT_EQ(blended(in, arithmetic(), isa), expected);
  }
}

TEST_P(EveryModel, GivesTheSameBitsHoweverTheTensorIsCut) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 40; ++round) {
    const Inputs in = random_inputs(random, inputs(random), 3000);
    const auto expected = blended(in, arithmetic());
    std::vector<std::byte> pieces(expected.size());
    BlendScratch scratch;
    for (size_t at = 0; at < in.count;) {
      const size_t n = std::min<size_t>(in.count - at, 1 + random() % 1500);
      blend(arithmetic(), in.combination, in.operands(at), in.out,
            pieces.data() + at * Inputs::width(in.out), n, scratch);
      at += n;
    }
    ASSERT_EQ(pieces, expected);
  }
}

TEST_P(EveryModel, ReadsAndWritesElementsThatAreNotAligned) {
  std::mt19937_64 random(4);
  const Inputs in = random_inputs(random, 2, 100);
  const auto expected = blended(in, arithmetic());
  std::vector<std::vector<std::byte>> shifted;
  std::vector<Operand> operands;
  for (size_t k = 0; k < in.data.size(); ++k) {
    shifted.emplace_back(1);
    shifted[k].insert(shifted[k].end(), in.data[k].begin(), in.data[k].end());
    operands.push_back({in.dtypes[k], shifted[k].data() + 1});
  }
  std::vector<std::byte> out(expected.size() + 1);
  BlendScratch scratch;
  blend(arithmetic(), in.combination, operands, in.out, out.data() + 1, in.count, scratch);
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + 1));
}

TEST_P(EveryModel, IsFoundByItsName) {
  EXPECT_EQ(parse_arithmetic(GetParam().name), arithmetic());
  EXPECT_EQ(info(arithmetic()).name, GetParam().name);
}

TEST(Arithmetic, KnowsNoOtherNames) {
  EXPECT_EQ(parse_arithmetic("f32"), std::nullopt);
  EXPECT_EQ(parse_arithmetic(""), std::nullopt);
}

uint64_t one_bf16(Arithmetic arithmetic, std::vector<double> weights,
                  const std::vector<double>& x) {
  std::vector<uint16_t> bits;
  for (double value : x) bits.push_back(static_cast<uint16_t>(encode(DType::kBF16, value)));
  std::vector<Operand> operands;
  for (const uint16_t& b : bits) {
    operands.push_back({DType::kBF16, reinterpret_cast<const std::byte*>(&b)});
  }
  uint16_t out = 0;
  BlendScratch scratch;
  blend(arithmetic, {std::move(weights), true}, operands, DType::kBF16,
        reinterpret_cast<std::byte*>(&out), 1, scratch);
  return out;
}

// 0.3 and 0.7 rounded to bf16 add up to 1, but their products are rounded each for itself.
TEST(Bf16Products, MovesElementsWhoseParentsAreEqual) {
  int moved = 0;
  for (uint64_t bits = 0x3F80; bits < 0x4000; ++bits) {
    const double x = decode(DType::kBF16, bits);
    moved += one_bf16(Arithmetic::kBf16Products, {.3, .7}, {x, x}) != bits;
    EXPECT_EQ(one_bf16(Arithmetic::kExact, {.3, .7}, {x, x}), bits);
  }
  EXPECT_GT(moved, 5);
  EXPECT_LT(moved, 64);
}

TEST(F32Fma, KeepsTheProductWholeUntilItIsAdded) {
  // (1 + 2^-12)² − (1 + 2^-11) is 2^-24, which a rounded product loses.
  const float x[]{0x1.001p0f, 0x1.002p0f};
  const std::vector<Operand> operands{{DType::kF32, reinterpret_cast<const std::byte*>(&x[1])},
                                      {DType::kF32, reinterpret_cast<const std::byte*>(&x[0])}};
  const Combination combination{{-1, 0x1.001p0}, false};
  float out = 0;
  BlendScratch scratch;
  for (const Isa isa : supported_isas()) {
    blend_on(isa, Arithmetic::kF32Fma, combination, operands, DType::kF32,
             reinterpret_cast<std::byte*>(&out), 1, scratch);
    EXPECT_EQ(out, 0x1p-24f);
    blend_on(isa, Arithmetic::kF32Once, combination, operands, DType::kF32,
             reinterpret_cast<std::byte*>(&out), 1, scratch);
    EXPECT_EQ(out, 0.0f);
  }
}

TEST(Blend, NaNIsOnePatternWhateverCameIn) {
  for (const ArithmeticInfo& model : arithmetics()) {
    EXPECT_EQ(one_bf16(model.arithmetic, {.5, .5}, {-std::nan(""), 1}), 0x7FC0u) << model.name;
    EXPECT_EQ(one_bf16(model.arithmetic, {.5, .5}, {kInfinity, -kInfinity}), 0x7FC0u) << model.name;
  }
}

TEST(Blend, ScratchOnlyGrows) {
  std::mt19937_64 random(5);
  BlendScratch scratch;
  size_t f32 = 0, f64 = 0;
  for (int round = 0; round < 50; ++round) {
    const Inputs in = random_inputs(random, 1 + random() % 6, 50);
    std::vector<std::byte> out(in.count * Inputs::width(in.out));
    blend(Arithmetic::kExact, in.combination, in.operands(), in.out, out.data(), in.count, scratch);
    EXPECT_GE(scratch.f32.size(), f32);
    EXPECT_GE(scratch.f64.size(), f64);
    f32 = scratch.f32.size();
    f64 = scratch.f64.size();
  }
}

}  // namespace
}  // namespace hieron
