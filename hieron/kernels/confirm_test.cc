#include "hieron/kernels/confirm.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/decode.h"

namespace hieron {
namespace {

struct Columns {
  std::vector<std::byte> s, x, y;
  size_t count = 0;
};

// Random patterns, so that infinities, NaN, zeros and subnormals occur; every third suspect is the
// blend itself, the next one its neighbour.
Columns columns(const std::vector<uint32_t>& patterns, double w0, double w1) {
  Columns c;
  c.count = patterns.size();
  for (auto* column : {&c.s, &c.x, &c.y}) column->resize(2 * c.count);
  for (size_t i = 0; i < c.count; ++i) {
    store_bits(DType::kBF16, c.x.data(), i, patterns[i] & 0xFFFF);
    store_bits(DType::kBF16, c.y.data(), i, patterns[i] >> 16);
  }
  BlendScratch scratch;
  const std::array<Operand, 2> operands{Operand{DType::kBF16, c.x.data()},
                                        Operand{DType::kBF16, c.y.data()}};
  blend(Arithmetic::kExact, {{w0, w1}, false}, operands, DType::kBF16, c.s.data(), c.count,
        scratch);
  for (size_t i = 0; i < c.count; ++i) {
    const uint64_t bits = load_bits(DType::kBF16, c.s.data(), i);
    if (i % 3 == 1) store_bits(DType::kBF16, c.s.data(), i, bits ^ 1);
    if (i % 3 == 2) store_bits(DType::kBF16, c.s.data(), i, bits + 2);
  }
  return c;
}

RC_GTEST_PROP(Confirm, IsNeverCertainOfAnythingFalse, ()) {
  const auto patterns = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  const double w0 = *rc::gen::inRange(-200, 300) / 100.0, w1 = *rc::gen::inRange(-200, 300) / 100.0;
  const Columns c = columns(patterns, w0, w1);
  std::vector<Confirmed> confirmed(c.count);
  confirm_bf16(static_cast<float>(w0), static_cast<float>(w1), c.s.data(), c.x.data(), c.y.data(),
               c.count, confirmed.data());
  const std::array<Operand, 2> operands{Operand{DType::kBF16, c.x.data()},
                                        Operand{DType::kBF16, c.y.data()}};
  BlendScratch scratch;
  for (const Arithmetic arithmetic :
       {Arithmetic::kExact, Arithmetic::kF32Once, Arithmetic::kF32Fma}) {
    std::vector<std::byte> made(2 * c.count);
    blend(arithmetic, {{w0, w1}, false}, operands, DType::kBF16, made.data(), c.count, scratch);
    for (size_t i = 0; i < c.count; ++i) {
      const bool equal =
          load_bits(DType::kBF16, made.data(), i) == load_bits(DType::kBF16, c.s.data(), i);
      if (confirmed[i] == Confirmed::kYes) RC_ASSERT(equal);
      if (confirmed[i] == Confirmed::kNo) RC_ASSERT(!equal);
    }
  }
}

TEST(Confirm, SettlesNearlyEverythingOfAnOrdinaryMerge) {
  std::vector<uint32_t> patterns;
  for (uint32_t i = 0; i < 30000; ++i) {
    const double x = std::sin(i * 0.7) * 0.1, y = x + std::cos(i * 1.3) * 0.01;
    patterns.push_back(
        static_cast<uint32_t>(encode(DType::kBF16, x) | encode(DType::kBF16, y) << 16));
  }
  const Columns c = columns(patterns, 0.6, 0.4);
  std::vector<Confirmed> confirmed(c.count);
  const ConfirmedCounts counts =
      confirm_bf16(0.6f, 0.4f, c.s.data(), c.x.data(), c.y.data(), c.count, confirmed.data());
  EXPECT_GT(counts.yes, c.count / 3 * 95 / 100);
  EXPECT_GT(counts.yes + counts.no, c.count * 95 / 100);
}

TEST(Confirm, CountsWhereTheEndsDifferAndWhatIsNotFinite) {
  const uint32_t one = 0x3F80, two = 0x4000;
  const std::vector<uint32_t> patterns{one | one << 16, one | two << 16, two | two << 16};
  Columns c = columns(patterns, 0.5, 0.5);
  store_bits(DType::kBF16, c.s.data(), 0, 0x7FC0);
  std::vector<Confirmed> confirmed(c.count);
  const ConfirmedCounts counts =
      confirm_bf16(0.5f, 0.5f, c.s.data(), c.x.data(), c.y.data(), c.count, confirmed.data());
  EXPECT_EQ(counts.informative, 1u);
  EXPECT_EQ(counts.not_finite, 1u);
  EXPECT_EQ(confirmed[0], Confirmed::kUnsure);
}

}  // namespace
}  // namespace hieron
