#include "hieron/merge/mergekit/torch_softmax.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {
namespace {

// Numbers that NumPy makes from integers in the same way: multiples of 2^-21 in [−3, 5).
Values ramp(size_t n) {
  Values x(n);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t hashed = static_cast<uint32_t>(i) * 2654435761u >> 8;
    x[i] = 8 * (static_cast<float>(hashed) * 0x1p-24f - 0.375f);
  }
  return x;
}

std::vector<uint32_t> bits_of_softmax(size_t n, DType dtype) {
  const Rounding r(dtype);
  Values line = ramp(n);
  for (float& x : line) x = r(x);
  softmax(line, dtype);
  std::vector<uint32_t> bits;
  for (float p : line) bits.push_back(std::bit_cast<uint32_t>(r(p)));
  if (dtype != DType::kF32) {
    for (uint32_t& b : bits) b >>= 16;
  }
  return bits;
}

using Bits = std::vector<uint32_t>;

// torch 2.15, AVX-512: softmax(ramp(n), 0)
TEST(TorchSoftmax, OfLinesShorterThanAVectorIsTorchs) {
  EXPECT_EQ(bits_of_softmax(3, DType::kF32), (Bits{0x3BDD7019, 0x3F72D5D6, 0x3D36F4AA}));
}

TEST(TorchSoftmax, OfAWholeVectorIsTorchs) {
  EXPECT_EQ(bits_of_softmax(16, DType::kF32),
            (Bits{0x397717AE, 0x3D077C05, 0x3ACC26EA, 0x3E5FE113, 0x3C28AC81, 0x39FE29AA,
                  0x3D8B5C7B, 0x3B51FE5B, 0x3EE64905, 0x3CAD8015, 0x3A82B7B8, 0x3E0F5951,
                  0x3BD8009C, 0x39A2BD45, 0x3D3276FE, 0x3B067543}));
}

TEST(TorchSoftmax, OfLinesThatDoNotFillTheirVectorsIsTorchs) {
  EXPECT_EQ(
      bits_of_softmax(21, DType::kF32),
      (Bits{0x3930FEA6, 0x3CC218FC, 0x3A923C6C, 0x3E205DE7, 0x3BF1A537, 0x39B60F27, 0x3D47A6CE,
            0x3B166B9F, 0x3EA4F49C, 0x3C788F53, 0x3A3B44C3, 0x3DCD5D46, 0x3B9AB97D, 0x396924BA,
            0x3CFFAC0F, 0x3AC0A08E, 0x3E533D9F, 0x3C1F26DE, 0x39EFD091, 0x3D837E76, 0x3B462394}));
}

TEST(TorchSoftmax, OfBf16IsTorchs) {
  EXPECT_EQ(
      bits_of_softmax(21, DType::kBF16),
      (Bits{0x3931, 0x3CC2, 0x3A93, 0x3E20, 0x3BF2, 0x39B6, 0x3D49, 0x3B16, 0x3EA6, 0x3C79, 0x3A3C,
            0x3DCE, 0x3B9B, 0x396B, 0x3D00, 0x3AC1, 0x3E50, 0x3C20, 0x39F1, 0x3D83, 0x3B46}));
}

TEST(TorchSoftmax, SharesAddUpToOne) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const size_t n : {1, 15, 16, 100}) {
      Values line = ramp(n);
      softmax(line, dtype);
      double total = 0;
      for (float p : line) total += static_cast<double>(p);
      EXPECT_NEAR(total, 1, 1e-6) << n;
    }
  }
}

TEST(TorchSoftmax, ExponentialsAreGoodToOneUnitOfTheLastPlace) {
  for (float x = -20; x < 20; x += 0.0173f) {
    const float exact = static_cast<float>(std::exp(static_cast<double>(x)));
    EXPECT_NEAR(sleef_exp(x) / exact, 1, 0x1p-23) << x;
  }
  EXPECT_EQ(sleef_exp(0), 1);
  EXPECT_EQ(sleef_exp(-200), 0);
}

// torch 2.15: torch.log of numbers where it is not the correctly rounded value.
TEST(TorchLog, OfF32IsTorchsWhereThatIsNotCorrectlyRounded) {
  EXPECT_EQ(torch_log(0.9f, DType::kF32), -0.105360538f);
  EXPECT_EQ(torch_log(1.3f, DType::kF32), 0.262364209f);
  EXPECT_EQ(torch_log(1.5f, DType::kF32), 0.405465126f);
  EXPECT_EQ(torch_log(1.6f, DType::kF32), 0.470003664f);
  EXPECT_EQ(torch_log(3.3f, DType::kF32), 1.19392252f);
  EXPECT_EQ(torch_log(5.5f, DType::kF32), 1.70474815f);
}

TEST(TorchLog, IsGoodToOneUnitOfTheLastPlace) {
  for (float x = 1e-9f; x < 1e9f; x *= 1.00173f) {
    const double exact = std::log(static_cast<double>(x));
    EXPECT_NEAR(static_cast<double>(torch_log(x, DType::kF32)), exact, std::abs(exact) * 0x1p-23);
    EXPECT_EQ(torch_log(x, DType::kBF16), static_cast<float>(exact)) << x;
  }
}

TEST(TorchLog, KnowsTheEndsOfItsRange) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    EXPECT_EQ(torch_log(1, dtype), 0);
    EXPECT_EQ(torch_log(0, dtype), -kInfinity);
    EXPECT_EQ(torch_log(kInfinity, dtype), kInfinity);
    EXPECT_TRUE(std::isnan(torch_log(-1, dtype)));
    EXPECT_TRUE(std::isnan(torch_log(kNan, dtype)));
    EXPECT_EQ(torch_log(0x1p-140f, dtype), -97.0406052f);
  }
}

}  // namespace
}  // namespace hieron::mergekit
