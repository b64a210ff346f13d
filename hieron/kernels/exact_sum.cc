#include "hieron/kernels/exact_sum.h"

#include <bit>
#include <cmath>

namespace hieron {
namespace {

// |value| as an integer times a power of two.
Scaled split(double value) {
  const uint64_t magnitude = std::bit_cast<uint64_t>(value) & ~(uint64_t{1} << 63);
  return float_layout(DType::kF64).value(magnitude);
}

}  // namespace

void ExactSum::add_product(double a, double b) {
  add_product(std::fabs(a), split(b), std::signbit(a) != std::signbit(b));
}

void ExactSum::add_product(double a, Scaled b, bool negate) {
  const Scaled left = split(a);
  add(std::signbit(a) != negate, Wide{left.significand} * b.significand,
      left.exponent + b.exponent);
}

void ExactSum::add(bool negative, Wide magnitude, int exponent) {
  const unsigned bit = static_cast<unsigned>(exponent - kLowest);
  const unsigned limb = bit / 64, shift = bit % 64;
  const Wide low = magnitude << shift;
  const uint64_t above = shift == 0 ? 0 : static_cast<uint64_t>(magnitude >> 64) >> (64 - shift);
  const std::array<uint64_t, 3> words{static_cast<uint64_t>(low), static_cast<uint64_t>(low >> 64),
                                      above};
  uint64_t carry = 0;
  for (unsigned i = limb; i < kLimbs && (i < limb + 3 || carry); ++i) {
    const uint64_t word = i < limb + 3 ? words[i - limb] : 0;
    uint64_t first = 0, second = 0;
    if (negative) {
      first = __builtin_sub_overflow(limbs_[i], word, &limbs_[i]);
      second = __builtin_sub_overflow(limbs_[i], carry, &limbs_[i]);
    } else {
      first = __builtin_add_overflow(limbs_[i], word, &limbs_[i]);
      second = __builtin_add_overflow(limbs_[i], carry, &limbs_[i]);
    }
    carry = first | second;
  }
}

int ExactSum::sign() const {
  if (limbs_.back() >> 63) return -1;
  for (uint64_t limb : limbs_) {
    if (limb) return 1;
  }
  return 0;
}

std::array<uint64_t, ExactSum::kLimbs> ExactSum::magnitude() const {
  std::array<uint64_t, kLimbs> words = limbs_;
  if (!(limbs_.back() >> 63)) return words;
  bool carry = true;
  for (uint64_t& word : words) {
    word = ~word + carry;
    carry = carry && word == 0;
  }
  return words;
}

Scaled ExactSum::leading() const {
  const auto words = magnitude();
  int top = kLimbs - 1;
  while (words[top] == 0) --top;
  const int shift = std::countl_zero(words[top]);
  uint64_t bits = words[top] << shift;
  if (shift > 0 && top > 0) bits |= words[top - 1] >> (64 - shift);
  return {bits, kLowest + 64 * top - shift};
}

double ExactSum::near() const {
  const int side = sign();
  if (side == 0) return 0.0;
  const Scaled top = leading();
  const double value = std::ldexp(static_cast<double>(top.significand), top.exponent);
  return side < 0 ? -value : value;
}

}  // namespace hieron
