#include "hieron/kernels/decode.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "hieron/kernels/decode_on.h"

namespace hieron {
namespace {

class EveryDType : public testing::TestWithParam<DTypeInfo> {
 protected:
  DType dtype() const { return GetParam().dtype; }
  size_t width() const { return static_cast<size_t>(GetParam().bits) / 8; }

  // Every pattern of the narrow formats, random ones of the wide.
  std::vector<uint64_t> patterns() const {
    std::vector<uint64_t> list;
    const int bits = GetParam().bits;
    std::mt19937_64 random(1);
    const size_t count = bits <= 16 ? size_t{1} << bits : 100003;
    for (size_t i = 0; i < count; ++i) list.push_back(bits <= 16 ? i : random() >> (64 - bits));
    return list;
  }
  std::vector<std::byte> packed(const std::vector<uint64_t>& list) const {
    std::vector<std::byte> data((list.size() * static_cast<size_t>(GetParam().bits) + 7) / 8);
    for (size_t i = 0; i < list.size(); ++i) store_bits(dtype(), data.data(), i, list[i]);
    return data;
  }
};

std::string dtype_name(const testing::TestParamInfo<DTypeInfo>& row) {
  return std::string(row.param.name);
}

std::vector<DTypeInfo> floats_of_whole_bytes() {
  std::vector<DTypeInfo> list;
  for (const DTypeInfo& row : dtypes()) {
    if (row.format && row.bits % 8 == 0) list.push_back(row);
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Kernels, EveryDType, testing::ValuesIn(dtypes().begin(), dtypes().end()),
                         dtype_name);

template <class T>
bool same(T a, T b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

TEST_P(EveryDType, DecodesInBulkAsOneByOne) {
  const auto list = patterns();
  const auto data = packed(list);
  std::vector<double> f64(list.size());
  std::vector<float> f32(list.size());
  for (const Isa isa : supported_isas()) {
    decode_on(isa, dtype(), data.data(), std::span(f64));
    decode_on(isa, dtype(), data.data(), std::span(f32));
    for (size_t i = 0; i < list.size(); ++i) {
      const double expected = decode(dtype(), list[i]);
      ASSERT_TRUE(same(f64[i], expected)) << list[i];
      ASSERT_TRUE(same(f32[i], static_cast<float>(expected))) << list[i];
    }
  }
}

// Values that are hard to round: midpoints, their neighbours, both ends of the range.
std::vector<double> hard_values(DType dtype) {
  std::vector<double> values{0.0,
                             -0.0,
                             1e300,
                             -1e300,
                             1e-300,
                             -1e-300,
                             0x1p-149,
                             0x1p-1074,
                             std::numeric_limits<double>::infinity(),
                             -std::numeric_limits<double>::infinity(),
                             std::nan(""),
                             -std::nan("")};
  std::mt19937_64 random(2);
  const int bits = info(dtype).bits;
  for (size_t i = 0; i < 60000; ++i) {
    const uint64_t pattern = bits <= 16 ? i : random() >> (64 - bits);
    const double low = decode(dtype, pattern), high = decode(dtype, pattern + 1);
    const double middle = low / 2 + high / 2;
    for (double x : {low, middle, std::nextafter(middle, -1e308), std::nextafter(middle, 1e308)}) {
      values.push_back(x);
    }
  }
  return values;
}

class EveryFloatOfWholeBytes : public EveryDType {};

INSTANTIATE_TEST_SUITE_P(Kernels, EveryFloatOfWholeBytes,
                         testing::ValuesIn(floats_of_whole_bytes()), dtype_name);

TEST_P(EveryFloatOfWholeBytes, EncodesInBulkAsOneByOne) {
  const std::vector<double> f64 = hard_values(dtype());
  std::vector<float> f32;
  for (double x : f64) f32.push_back(static_cast<float>(x));
  std::vector<std::byte> from_f64(f64.size() * width()), from_f32(f64.size() * width());
  for (const Isa isa : supported_isas()) {
    encode_on(isa, dtype(), std::span<const double>(f64), from_f64.data());
    encode_on(isa, dtype(), std::span<const float>(f32), from_f32.data());
    for (size_t i = 0; i < f64.size(); ++i) {
      ASSERT_EQ(load_bits(dtype(), from_f64.data(), i), encode(dtype(), f64[i])) << f64[i];
      ASSERT_EQ(load_bits(dtype(), from_f32.data(), i), encode(dtype(), double{f32[i]})) << f32[i];
    }
  }
}

TEST_P(EveryDType, StoresAndLoadsEachElementWithoutTouchingOthers) {
  std::vector<uint64_t> list = patterns();
  list.resize(std::min<size_t>(list.size(), 999));
  auto data = packed(list);
  for (size_t i = 0; i < list.size(); i += 3) {
    list[i] ^= 1;
    store_bits(dtype(), data.data(), i, list[i]);
  }
  for (size_t i = 0; i < list.size(); ++i) ASSERT_EQ(load_bits(dtype(), data.data(), i), list[i]);
}

// The values that break instruction-based conversions: truncation, flushed subnormals, lost NaN.
TEST(Encode, RoundsBf16WhereShortcutsFail) {
  const std::vector<uint32_t> in{0x3F808000, 0x3F808001, 0x3F818000, 0x00010000, 0x00008001,
                                 0x7F800001, 0xFF800001, 0x7F7FFFFF, 0x80000001};
  const std::vector<uint16_t> expected{0x3F80, 0x3F81, 0x3F82, 0x0001, 0x0001,
                                       0x7FC0, 0xFFC0, 0x7F80, 0x8000};
  std::vector<float> values(in.size());
  std::memcpy(values.data(), in.data(), in.size() * sizeof(float));
  for (const Isa isa : supported_isas()) {
    std::vector<uint16_t> out(in.size());
    encode_on(isa, DType::kBF16, std::span<const float>(values),
              reinterpret_cast<std::byte*>(out.data()));
    EXPECT_EQ(out, expected);
  }
}

}  // namespace
}  // namespace hieron
