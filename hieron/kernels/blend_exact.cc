// The correctly rounded value of Σ w·x / n.
//
// 1. A chunk at a time, in plain f64 with a bound e on its error: if v − e and v + e round to the
// same stored
//    value, so does the exact number between them. Decides all but one element in 2^40 of generic
//    data.
// 2. What is left lies close to a midpoint m between two stored values (round weights make it so:
// an
//    average of two bf16 numbers is a midpoint every other time). The side is the sign of
//    Σ w·x − m·Σw, summed with every rounding error kept.
// 3. If those errors have errors that matter, or a number leaves the range in which they can be
// kept:
//    the same sign by fixed-point arithmetic of 4,480 bits.
//
// The answer is a property of the numbers alone, so the order of operands cannot change it.
#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>

#include "hieron/kernels/blend_on.h"
#include "hieron/kernels/decode.h"
#include "hieron/kernels/decode_on.h"
#include "hieron/kernels/exact_sum.h"
#include "hieron/kernels/lanes.h"

namespace hieron {
namespace {

constexpr double kUnit = 0x1p-53;  // one rounding to f64 errs by at most this, relatively

// Numbers in this range have products, and products have errors, that are neither subnormal nor
// infinite.
bool comfortable(double x) { return x == 0 || (std::fabs(x) > 0x1p-400 && std::fabs(x) < 0x1p400); }

// ---- tier 2: a sum with its errors ----

// hi + lo + (what was lost) is the exact sum, and |what was lost| <= lost.
class TrackedSum {
 public:
  void add_product(double a, double b) {
    const double product = a * b;
    const double error = std::fma(a, b, -product);
    add(product);
    add_small(error);
  }
  double value() const { return hi_ + lo_; }
  double lost() const { return lost_ * (1 + 0x1p-30); }  // its own additions round, too
  bool exact() const { return lost_ == 0; }
  // Is value() the exact sum?
  bool value_is_exact() const {
    double error;
    two_sum(hi_, lo_, error);
    return exact() && error == 0;
  }

  // The sign of the exact sum, if it is certain.
  std::optional<int> sign() const {
    const double sum = value();
    if (std::fabs(sum) <= lost() && !exact()) return std::nullopt;
    return (sum > 0) - (sum < 0);
  }

 private:
  // Knuth's two-sum: a + b = sum + error, exactly.
  static double two_sum(double a, double b, double& error) {
    const double sum = a + b;
    const double b_part = sum - a;
    error = (a - (sum - b_part)) + (b - b_part);
    return sum;
  }
  void add(double x) {
    double error;
    hi_ = two_sum(hi_, x, error);
    add_small(error);
  }
  void add_small(double x) {
    double error;
    lo_ = two_sum(lo_, x, error);
    lost_ += std::fabs(error);
  }

  double hi_ = 0, lo_ = 0, lost_ = 0;
};

// ---- one element, whatever it takes (tiers 2 and 3) ----

class Settler {
 public:
  Settler(const Combination& combination, DType out_dtype)
      : weights_(combination.weights),
        normalize_(combination.normalize),
        dtype_(out_dtype),
        layout_(float_layout(out_dtype)),
        quantise_(layout_),
        finite_(std::ranges::all_of(weights_, [](double w) { return std::isfinite(w); })) {
    if (!finite_) return;
    split_divisor();
    easy_ = std::ranges::all_of(weights_, comfortable) &&
            std::ranges::all_of(divisor_terms_, comfortable);
  }

  bool finite() const { return finite_; }
  double divisor() const { return divisor_terms_[0]; }  // a double next to n
  bool divisor_is_exact() const { return divisor_terms_.size() == 1; }

  // The stored pattern of the combination of x, one value for each weight.
  uint64_t pattern(std::span<const double> x) const {
    if (!finite_ || !std::ranges::all_of(x, [](double v) { return std::isfinite(v); })) {
      return non_finite_result(x);
    }
    if (divisor_sign_ == 0) return divided_by_zero(x);
    if (easy_ && std::ranges::all_of(x, comfortable)) {
      const auto quick = dtype_ == DType::kF64 ? near_f64(x) : near_midpoint(x);
      if (quick) return *quick;
    }
    return in_fixed_point(x);
  }

 private:
  // n as doubles that add up to it exactly, largest first: one or two in practice.
  void split_divisor() {
    ExactSum n = divisor_sum();
    divisor_sign_ = n.sign();
    do {
      divisor_terms_.push_back(n.near());
      if (!std::isfinite(divisor_terms_.back())) return;
      n.add_product(divisor_terms_.back(), -1.0);
    } while (n.sign() != 0);
  }

  ExactSum divisor_sum() const {
    ExactSum n;
    if (!normalize_) n.add_product(1.0, 1.0);
    for (size_t k = 0; normalize_ && k < weights_.size(); ++k) n.add_product(weights_[k], 1.0);
    return n;
  }

  ExactSum exact_numerator(std::span<const double> x) const {
    ExactSum sum;
    for (size_t k = 0; k < x.size(); ++k) sum.add_product(weights_[k], x[k]);
    return sum;
  }

  // IEEE: NaN wins, opposite infinities are NaN, an infinity wins over everything finite.
  uint64_t non_finite_result(std::span<const double> x) const {
    double sum = finite_ ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    for (size_t k = 0; k < x.size(); ++k) sum += std::isfinite(x[k]) ? 0.0 : weights_[k] * x[k];
    const double result = sum / divisor_sign_;
    return std::isnan(result) ? layout_.nan : encode(dtype_, result);
  }

  uint64_t divided_by_zero(std::span<const double> x) const {
    const int sign = exact_numerator(x).sign();
    return sign == 0 ? layout_.nan : layout_.with_sign(layout_.overflow, sign < 0);
  }

  // An exact zero: -0 iff every product is -0.
  uint64_t zero(std::span<const double> x) const {
    bool negative = true;
    for (size_t k = 0; k < x.size(); ++k) {
      const bool product_is_zero = x[k] == 0 || weights_[k] == 0;
      negative &= product_is_zero && std::signbit(x[k]) != std::signbit(weights_[k]);
    }
    return layout_.with_sign(0, negative);
  }

  TrackedSum numerator(std::span<const double> x) const {
    TrackedSum sum;
    for (size_t k = 0; k < x.size(); ++k) sum.add_product(weights_[k], x[k]);
    return sum;
  }

  // Tier 2 for formats with midpoints that are doubles: on which side of the nearest midpoint?
  std::optional<uint64_t> near_midpoint(std::span<const double> x) const {
    TrackedSum side = numerator(x);
    if (side.exact() && side.value() == 0) return zero(x);
    const double v = side.value() / divisor();
    const double quantum = quantise_.quantum(v);
    const double error = std::fabs(v) * 0x1p-50 + side.lost() / std::fabs(divisor()) * 1.01;
    if (!(error <= quantum / 8) || !(std::fabs(v) < 0x1p400)) return std::nullopt;
    const double rounded = quantise_(v);
    const double rest = v - rounded;
    if (std::fabs(rest) + 2 * error < quantum / 2) return encode(dtype_, rounded);

    const double midpoint = rounded + std::copysign(quantum / 2, rest);
    for (double term : divisor_terms_) side.add_product(-term, midpoint);
    const std::optional<int> sign = side.sign();
    if (!sign) return std::nullopt;
    if (*sign == 0) return encode(dtype_, quantise_(midpoint));  // a tie, to even
    const double step = *sign == divisor_sign_ ? quantum / 2 : -quantum / 2;
    return encode(dtype_, std::copysign(midpoint + step, midpoint));
  }

  // Tier 2 for F64: quotient and remainder, if their sum rounds the same whatever was lost.
  std::optional<uint64_t> near_f64(std::span<const double> x) const {
    TrackedSum rest = numerator(x);
    if (rest.exact() && rest.value() == 0) return zero(x);
    const double n = divisor();
    const double quotient = rest.value() / n;
    if (quotient == 0 || !comfortable(quotient) || !divisor_is_exact()) return std::nullopt;
    rest.add_product(-quotient, n);
    const double correction = rest.value() / n;
    const bool exact = rest.value_is_exact() && std::fma(correction, n, -rest.value()) == 0;
    const double rounded = quotient + correction;
    if (rounded == 0 || !comfortable(rounded)) return std::nullopt;
    const double left_over = (quotient - rounded) + correction;
    const double error = exact ? 0
                               : (std::fabs(correction) + std::fabs(left_over)) * 0x1p-48 +
                                     rest.lost() / std::fabs(n) * 1.01;
    const bool certain =
        rounded + (left_over + error) == rounded && rounded + (left_over - error) == rounded;
    if (!certain) return std::nullopt;
    return std::bit_cast<uint64_t>(rounded);
  }

  // Tier 3: start from a good guess and walk to the cell that holds the quotient.
  uint64_t in_fixed_point(std::span<const double> x) const {
    const ExactSum sum = exact_numerator(x);
    if (sum.sign() == 0) return zero(x);
    const bool negative = sum.sign() != divisor_sign_;
    uint64_t magnitude = guess(sum);
    while (magnitude <= layout_.largest) {
      const int side = side_of_midpoint_above(sum, magnitude);
      if (side < 0 || (side == 0 && magnitude % 2 == 0)) break;
      ++magnitude;
    }
    while (magnitude > 0) {
      const int side = side_of_midpoint_above(sum, magnitude - 1);
      if (side > 0 || (side == 0 && magnitude % 2 == 0)) break;
      --magnitude;
    }
    return layout_.with_sign(magnitude <= layout_.largest ? magnitude : layout_.overflow, negative);
  }

  // A magnitude pattern within a step or two of |sum / n|; largest + 1 if that overflows.
  uint64_t guess(const ExactSum& sum) const {
    const Scaled top = sum.leading(), bottom = divisor_sum().leading();
    const double ratio =
        static_cast<double>(top.significand) / static_cast<double>(bottom.significand);
    const uint64_t bits = encode(dtype_, std::ldexp(ratio, top.exponent - bottom.exponent));
    return non_finite(dtype_, bits) ? layout_.largest + 1 : bits;
  }

  // Is |sum / n| below (-1), at (0) or above (1) the midpoint between this magnitude and the next?
  int side_of_midpoint_above(const ExactSum& sum, uint64_t magnitude) const {
    ExactSum side = sum;
    const Scaled midpoint = layout_.midpoint_above(magnitude);
    const bool subtract =
        sum.sign() == divisor_sign_;  // the quotient and so the midpoint is positive
    if (!normalize_) side.add_product(1.0, midpoint, subtract);
    for (size_t k = 0; normalize_ && k < weights_.size(); ++k) {
      side.add_product(weights_[k], midpoint, subtract);
    }
    return side.sign() * sum.sign();
  }

  std::vector<double> weights_;
  bool normalize_;
  DType dtype_;
  const FloatLayout& layout_;
  Quantiser quantise_;
  bool finite_;
  bool easy_ = false;
  int divisor_sign_ = 0;
  std::vector<double> divisor_terms_;
};

// ---- tier 1: a chunk in f64 ----

// Sums of c·x, and beside each a figure from which its error follows: the sum of |c·x|
// (`kMagnitudes`), or, where every product is exact, the sum of the additions' own errors
// (`kErrors`), which is zero for most elements when weights are round. Then a tie is known to be
// one.
enum class Beside : uint8_t { kMagnitudes, kErrors };

template <class X>
struct FirstTerm {
  double c;
  Beside beside_what;
  HIERON_INLINE void operator()(const X* __restrict x, double* __restrict sum,
                                double* __restrict beside, size_t n) const {
    const double scale = beside_what == Beside::kMagnitudes ? 1.0 : 0.0;
    for (size_t i = 0; i < n; ++i) {
      sum[i] = c * x[i];
      beside[i] = scale * std::fabs(sum[i]);
    }
  }
};

template <class X>
struct AddTermWithMagnitude {
  double c;
  HIERON_INLINE void operator()(const X* __restrict x, double* __restrict sum,
                                double* __restrict beside, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double product = c * x[i];
      sum[i] += product;
      beside[i] += std::fabs(product);
    }
  }
};

template <class X>
struct AddTermWithError {
  double c;
  HIERON_INLINE void operator()(const X* __restrict x, double* __restrict sum,
                                double* __restrict beside, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double product = c * x[i], before = sum[i];
      const double after = before + product;
      const double part = after - before;
      beside[i] += std::fabs((before - (after - part)) + (product - part));
      sum[i] = after;
    }
  }
};

// Rounds where v − e and v + e agree; NaN where they do not, which the caller settles.
struct RoundIfCertain {
  Quantiser quantise;
  double from_beside, from_sum;  // e = beside·from_beside + (if beside is not zero) |v|·from_sum
  double least_beside;           // below it, products may have been subnormal

  HIERON_INLINE void operator()(const double* __restrict sum, const double* __restrict beside,
                                float* __restrict out, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double v = sum[i];
      const double spread = beside[i] == 0 ? 0.0 : std::fabs(v) * from_sum;
      const double e = beside[i] * from_beside + spread;
      const double quantum = quantise.quantum(v), magic = quantum * 0x1.8p52;
      const double low = ((v - e) + magic) - magic;
      const double high = ((v + e) + magic) - magic;
      // With e beyond a quarter of the quantum, v's binade might not be that of the exact value.
      const bool certain = (low == high) & (e <= 0.25 * quantum) & (beside[i] >= least_beside);
      const double rounded = std::copysign(low, v);
      out[i] = static_cast<float>(certain ? rounded : std::numeric_limits<double>::quiet_NaN());
    }
  }
};

int significant_bits(double x) {
  const uint64_t mantissa = (std::bit_cast<uint64_t>(x) & ((uint64_t{1} << 52) - 1)) | uint64_t{1}
                                                                                           << 52;
  return 53 - std::countr_zero(mantissa);
}

bool fits_f32(DType dtype) { return info(dtype).bits <= 16 || dtype == DType::kF32; }

int value_bits(DType dtype) {
  const auto& format = info(dtype).format;
  return format ? format->mantissa_bits + 1 : std::min(info(dtype).bits, 53);
}

bool power_of_two(double x) { return significant_bits(x) == 1; }

struct FirstTier {
  std::vector<double> coefficients;  // w / n
  Beside beside = Beside::kMagnitudes;
  double from_beside = 0, from_sum = 0, least_beside = 0;
};

// Tier 1 for this combination; nothing if its numbers are out of range.
std::optional<FirstTier> first_tier(const Combination& combination, const Settler& settler,
                                    std::span<const Operand> operands, DType out_dtype) {
  if (out_dtype == DType::kF64 || !settler.finite() || settler.divisor() == 0) return std::nullopt;
  const double n = settler.divisor();
  FirstTier tier;
  bool exact = n > 0 && power_of_two(n) && settler.divisor_is_exact();
  bool narrow = true;
  for (size_t k = 0; k < operands.size(); ++k) {
    const double weight = combination.weights[k];
    tier.coefficients.push_back(weight / n);
    if (!comfortable(weight) || !comfortable(tier.coefficients.back())) return std::nullopt;
    exact &= weight == 0 || significant_bits(weight) + value_bits(operands[k].dtype) <= 53;
    narrow &= fits_f32(operands[k].dtype);
  }
  if (exact && narrow) {
    tier.beside = Beside::kErrors;
    tier.from_beside = 1 + 0x1p-30;
    tier.from_sum = 2 * kUnit;  // the roundings of v − e and v + e
    return tier;
  }
  // One rounding each for n, the quotient, the product and every addition; two to spare for v ∓ e.
  tier.from_beside = static_cast<double>(operands.size() + 8) * kUnit;
  // Doubles reach below the range of exact products; a divisor below zero would turn the sign of
  // zero.
  if (!narrow) tier.least_beside = 0x1p-600;
  if (n < 0) tier.least_beside = std::max(tier.least_beside, std::numeric_limits<double>::min());
  return tier;
}

// ---- chunks ----

struct Job {
  Isa isa;
  std::span<const Operand> operands;
  DType out_dtype;
  std::byte* out;
  size_t count;

  size_t width(DType dtype) const { return static_cast<size_t>(info(dtype).bits) / 8; }

  template <class X>
  void decode_chunk(size_t at, size_t n, std::span<X> x) const {
    for (size_t k = 0; k < operands.size(); ++k) {
      const Operand& operand = operands[k];
      decode_on(isa, operand.dtype, operand.data + at * width(operand.dtype),
                x.subspan(k * kBlendChunk, n));
    }
  }

  template <class X>
  uint64_t settle(const Settler& settler, const X* x, size_t i, std::span<double> element) const {
    for (size_t k = 0; k < operands.size(); ++k) element[k] = x[k * kBlendChunk + i];
    return settler.pattern(element);
  }

  // Everything by the settler: F64 output, or weights out of tier 1's range.
  void one_by_one(const Settler& settler, BlendScratch& scratch) const {
    const size_t inputs = operands.size();
    const std::span<double> all = take(scratch.f64, inputs * (kBlendChunk + 1));
    const std::span<double> x = all.first(inputs * kBlendChunk), element = all.last(inputs);
    for (size_t at = 0; at < count; at += kBlendChunk) {
      const size_t n = std::min(kBlendChunk, count - at);
      decode_chunk(at, n, x);
      for (size_t i = 0; i < n; ++i) {
        store_bits(out_dtype, out, at + i, settle(settler, x.data(), i, element));
      }
    }
  }

  template <class X>
  void sum_terms(const FirstTier& tier, const X* x, double* sum, double* beside, size_t n) const {
    run(isa, FirstTerm<X>{tier.coefficients[0], tier.beside}, x, sum, beside, n);
    for (size_t k = 1; k < operands.size(); ++k) {
      const X* term = x + k * kBlendChunk;
      const double c = tier.coefficients[k];
      if (tier.beside == Beside::kErrors) {
        run(isa, AddTermWithError<X>{c}, term, sum, beside, n);
      } else {
        run(isa, AddTermWithMagnitude<X>{c}, term, sum, beside, n);
      }
    }
  }

  template <class X>
  void by_chunks(const FirstTier& tier, const Settler& settler, std::span<X> x,
                 std::span<double> sums, std::span<float> rounded) const {
    double *sum = sums.data(), *beside = sum + kBlendChunk;
    const std::span<double> element = sums.subspan(2 * kBlendChunk);
    const RoundIfCertain round{Quantiser(float_layout(out_dtype)), tier.from_beside, tier.from_sum,
                               tier.least_beside};
    for (size_t at = 0; at < count; at += kBlendChunk) {
      const size_t n = std::min(kBlendChunk, count - at);
      decode_chunk(at, n, x);
      sum_terms(tier, x.data(), sum, beside, n);
      run(isa, round, static_cast<const double*>(sum), static_cast<const double*>(beside),
          rounded.data(), n);
      encode_on(isa, out_dtype, std::span<const float>(rounded).first(n),
                out + at * width(out_dtype));
      for (size_t i = 0; i < n; ++i) {
        if (rounded[i] == rounded[i]) continue;
        store_bits(out_dtype, out, at + i, settle(settler, x.data(), i, element));
      }
    }
  }
};

}  // namespace

void blend_exact(Isa isa, const Combination& combination, std::span<const Operand> operands,
                 DType out_dtype, std::byte* out, size_t count, BlendScratch& scratch) {
  const Settler settler(combination, out_dtype);
  const Job job{isa, operands, out_dtype, out, count};
  const auto tier = first_tier(combination, settler, operands, out_dtype);
  if (!tier) return job.one_by_one(settler, scratch);

  const size_t inputs = operands.size();
  const bool narrow = std::ranges::all_of(operands, fits_f32, &Operand::dtype);
  const size_t doubles = (narrow ? 2 : 2 + inputs) * kBlendChunk + inputs;
  const size_t floats = (narrow ? 1 + inputs : 1) * kBlendChunk;
  const std::span<double> f64 = take(scratch.f64, doubles);
  const std::span<float> f32 = take(scratch.f32, floats);
  const std::span<double> sums = f64.first(2 * kBlendChunk + inputs);
  const std::span<float> rounded = f32.first(kBlendChunk);
  if (narrow) return job.by_chunks(*tier, settler, f32.subspan(kBlendChunk), sums, rounded);
  job.by_chunks(*tier, settler, f64.subspan(2 * kBlendChunk + inputs), sums, rounded);
}

}  // namespace hieron
