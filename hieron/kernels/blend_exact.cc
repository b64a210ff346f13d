// The correctly rounded value of Σ w·x / n.
//
// 1. A chunk at a time, in plain f64 with a bound e on its error: if v − e and v + e round to the
// same stored
//    value, so does the exact number between them. Decides all but one element in 2^40 of generic
//    data.
// 2. What is left lies close to a midpoint m between two stored values (round weights make it so:
// an
//    average of two bf16 numbers is a midpoint every other time). Gathered, and decided by the sign
//    of Σ w·x − m·Σw, summed with every rounding error kept.
// 3. If those errors have errors that matter, or a number leaves the range in which they can be
// kept:
//    the same sign by fixed-point arithmetic of 4,480 bits, one element at a time.
//
// The answer is a property of the numbers alone, so the order of operands cannot change it.
#include <algorithm>
#include <array>
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
#include "hieron/kernels/tracked_sum.h"

namespace hieron {
namespace {

constexpr double kUnit = 0x1p-53;  // one rounding to f64 errs by at most this, relatively

constexpr double kUncertain = std::numeric_limits<double>::quiet_NaN();

// Numbers in this range have products, and products have errors, that are neither subnormal nor
// infinite.
bool comfortable(double x) { return x == 0 || (std::fabs(x) > 0x1p-400 && std::fabs(x) < 0x1p400); }

// ---- a sum with its errors ----

// ---- one element, whatever it takes (tier 3) ----

class Settler {
 public:
  Settler(const Combination& combination, DType out_dtype)
      : weights_(combination.weights),
        normalize_(combination.normalize),
        dtype_(out_dtype),
        layout_(float_layout(out_dtype)),
        finite_(std::ranges::all_of(weights_, [](double w) { return std::isfinite(w); })) {
    if (!finite_) return;
    split_divisor();
    easy_ = divisor_sign_ != 0 && std::ranges::all_of(weights_, comfortable) &&
            std::ranges::all_of(divisor_terms_, comfortable);
  }

  // Are the weights and n such that their products with ordinary values can be tracked?
  bool easy() const { return easy_; }
  // n as doubles that add up to it exactly, the first being next to it: one or two in practice.
  std::span<const double> divisor_terms() const { return divisor_terms_; }

  // The stored pattern of the combination of x, one value for each weight. Some hundred
  // nanoseconds.
  uint64_t pattern(std::span<const double> x) const {
    if (!finite_ || !std::ranges::all_of(x, [](double v) { return std::isfinite(v); })) {
      return non_finite_result(x);
    }
    if (divisor_sign_ == 0) return divided_by_zero(x);
    return in_fixed_point(x);
  }

  // The F64 nearest to the combination, or NaN if that is not certain: quotient and remainder, if
  // their sum rounds the same whatever was lost.
  HIERON_INLINE double near_f64(std::span<const double> x) const {
    TrackedSum rest;
    for (size_t k = 0; k < x.size(); ++k) {
      if (!comfortable(x[k])) return kUncertain;
      rest.add_product(weights_[k], x[k]);
    }
    const double n = divisor_terms_[0];
    const double quotient = rest.value() / n;
    if (quotient == 0 || !comfortable(quotient)) return kUncertain;
    for (double term : divisor_terms_) rest.add_product(-quotient, term);
    double error;
    const double remainder = two_sum(rest.hi, rest.lo, error);
    const double correction = remainder / n;
    const bool exact = rest.lost == 0 && error == 0 && divisor_terms_.size() == 1 &&
                       __builtin_fma(correction, n, -remainder) == 0;
    const double rounded = quotient + correction;
    if (rounded == 0 || !comfortable(rounded)) return kUncertain;
    const double left_over = (quotient - rounded) + correction;
    const double doubt = exact ? 0
                               : (std::fabs(correction) + std::fabs(left_over)) * 0x1p-48 +
                                     rest.bound() / std::fabs(n) * 1.01;
    const bool certain =
        rounded + (left_over + doubt) == rounded && rounded + (left_over - doubt) == rounded;
    return certain ? rounded : kUncertain;
  }

 private:
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

  // Start from a good guess and walk to the cell that holds the quotient.
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

constexpr size_t kBlock = 64;

template <Beside kBeside>
HIERON_INLINE void add(double product, double& sum, double& beside) {
  if constexpr (kBeside == Beside::kMagnitudes) {
    sum += product;
    beside += std::fabs(product);
  } else {
    double error;
    sum = two_sum(sum, product, error);
    beside += std::fabs(error);
  }
}

template <class X, Beside kBeside>
struct FirstTerm {
  double c;
  HIERON_INLINE void operator()(const X* __restrict x, double* __restrict sum,
                                double* __restrict beside, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      sum[i] = c * x[i];
      beside[i] = kBeside == Beside::kMagnitudes ? std::fabs(sum[i]) : 0.0;
    }
  }
};

// The first two at once: a pass less over the sums.
template <class X, Beside kBeside>
struct FirstTwoTerms {
  double c, d;
  HIERON_INLINE void operator()(const X* __restrict x, const X* __restrict y,
                                double* __restrict sum, double* __restrict beside, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      double total = c * x[i];
      double other = kBeside == Beside::kMagnitudes ? std::fabs(total) : 0.0;
      add<kBeside>(d * y[i], total, other);
      sum[i] = total;
      beside[i] = other;
    }
  }
};

template <class X, Beside kBeside>
struct AddTerm {
  double c;
  HIERON_INLINE void operator()(const X* __restrict x, double* __restrict sum,
                                double* __restrict beside, size_t n) const {
    for (size_t i = 0; i < n; ++i) add<kBeside>(c * x[i], sum[i], beside[i]);
  }
};

// Rounds where v − e and v + e agree; NaN where they do not, which tier 2 settles. A byte for each
// block of kBlock elements says whether there is a NaN in it.
template <Beside kBeside>
struct RoundIfCertain {
  Quantiser quantise;
  double per_beside;    // e per unit of `beside`
  double least_beside;  // below it, products may have been subnormal

  HIERON_INLINE double error(double v, double beside) const {
    if constexpr (kBeside == Beside::kMagnitudes) return beside * per_beside;
    // v − e and v + e round, too, but not if e is zero.
    return beside * per_beside + choose(beside == 0, 0.0, std::fabs(v) * (2 * kUnit));
  }

  HIERON_INLINE void operator()(const double* __restrict sum, const double* __restrict beside,
                                float* __restrict out, uint8_t* __restrict doubtful,
                                size_t n) const {
    for (size_t at = 0; at < n; at += kBlock) {
      uint64_t certain_ones = 0;
      const size_t end = std::min(n, at + kBlock);
      for (size_t i = at; i < end; ++i) {
        const double v = sum[i], e = error(v, beside[i]);
        const double quantum = quantise.quantum(v), magic = quantum * 0x1.8p52;
        const double low = ((v - e) + magic) - magic;
        const double high = ((v + e) + magic) - magic;
        // With e beyond a quarter of the quantum, v's binade might not be that of the exact value.
        // And the exact value must have v's sign, or a zero would have the wrong one.
        const bool certain = (low == high) & (e <= 0.25 * quantum) & (std::fabs(v) >= e) &
                             (beside[i] >= least_beside);
        const uint64_t mask = uint64_t{0} - static_cast<uint64_t>(certain);
        const uint64_t sign = std::bit_cast<uint64_t>(v) & (uint64_t{1} << 63);
        const uint64_t rounded = std::bit_cast<uint64_t>(low) | sign;         // gives -0 its sign
        out[i] = static_cast<float>(std::bit_cast<double>(rounded | ~mask));  // all ones: NaN
        certain_ones += mask & 1;
      }
      doubtful[at / kBlock] = certain_ones != end - at;
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
  double per_beside = 0, least_beside = 0;
};

// Tier 1 for this combination; nothing if its numbers are out of range.
std::optional<FirstTier> first_tier(const Combination& combination, const Settler& settler,
                                    std::span<const Operand> operands, DType out_dtype) {
  if (out_dtype == DType::kF64 || !settler.easy()) return std::nullopt;
  const double n = settler.divisor_terms()[0];
  FirstTier tier;
  bool exact = n > 0 && power_of_two(n) && settler.divisor_terms().size() == 1;
  bool narrow = true;
  for (size_t k = 0; k < operands.size(); ++k) {
    const double weight = combination.weights[k];
    tier.coefficients.push_back(weight / n);
    if (!comfortable(tier.coefficients.back())) return std::nullopt;
    exact &= weight == 0 || significant_bits(weight) + value_bits(operands[k].dtype) <= 53;
    narrow &= fits_f32(operands[k].dtype);
  }
  if (exact && narrow) {
    tier.beside = Beside::kErrors;
    tier.per_beside = 1 + 0x1p-30;
    return tier;
  }
  // One rounding each for n, the quotient, the product and every addition; two to spare for v ∓ e.
  tier.per_beside = static_cast<double>(operands.size() + 8) * kUnit;
  // Doubles reach below the range of exact products; a divisor below zero would turn the sign of
  // zero.
  if (!narrow) tier.least_beside = 0x1p-600;
  if (n < 0) tier.least_beside = std::max(tier.least_beside, std::numeric_limits<double>::min());
  return tier;
}

// ---- tier 2: the elements in doubt, gathered ----

struct TrackedSums {
  double *hi, *lo, *lost;
};

struct TrackProduct {
  double c;
  HIERON_INLINE void operator()(const double* __restrict x, double* __restrict hi,
                                double* __restrict lo, double* __restrict lost, size_t n) const {
    for (size_t j = 0; j < n; ++j) {
      TrackedSum sum{hi[j], lo[j], lost[j]};
      sum.add_product(c, x[j]);
      hi[j] = sum.hi;
      lo[j] = sum.lo;
      lost[j] = sum.lost;
    }
  }
};

// From the tracked Σ w·x: the midpoint that is nearest to the quotient. NaN if the quotient is not
// known well enough to say which.
struct NearestMidpoint {
  Quantiser quantise;
  double n;
  HIERON_INLINE void operator()(const double* __restrict hi, const double* __restrict lo,
                                const double* __restrict lost, double* __restrict midpoint,
                                double* __restrict half_step, size_t count) const {
    const double per_lost = 1.01 / std::fabs(n);
    for (size_t j = 0; j < count; ++j) {
      const double v = (hi[j] + lo[j]) / n;
      const double error = std::fabs(v) * 0x1p-50 + lost[j] * per_lost;
      const double quantum = quantise.quantum(v);
      const double rounded = quantise(v);
      const bool known = (error <= quantum / 8) & (std::fabs(v) > error) & (std::fabs(v) < 0x1p400);
      midpoint[j] = choose(known, rounded + std::copysign(quantum / 2, v - rounded), kUncertain);
      half_step[j] = quantum / 2;
    }
  }
};

// From the tracked Σ w·x − midpoint·n: the neighbour of the midpoint on that side; in a tie the
// even one. NaN if the sign is not certain.
struct StepToSide {
  Quantiser quantise;
  double n;
  HIERON_INLINE void operator()(const double* __restrict hi, const double* __restrict lo,
                                const double* __restrict lost, const double* __restrict midpoint,
                                const double* __restrict half_step, float* __restrict out,
                                size_t count) const {
    for (size_t j = 0; j < count; ++j) {
      const double sum = hi[j] + lo[j];
      const bool certain = (std::fabs(sum) > lost[j] * (1 + 0x1p-30)) | (lost[j] == 0);
      const double toward = midpoint[j] + std::copysign(half_step[j], sum * n);
      const double side = choose(sum == 0, quantise(midpoint[j]), toward);
      const double result = choose(certain, std::copysign(side, midpoint[j]), kUncertain);
      out[j] = static_cast<float>(result);
    }
  }
};

// ---- chunks ----

size_t width(DType dtype) { return static_cast<size_t>(info(dtype).bits) / 8; }

// Where the numbers of one chunk live.
template <class X>
struct Buffers {
  std::span<X> x;        // operand k from k * kBlendChunk on
  double *sum, *beside;  // tier 1
  TrackedSums tracked;   // tier 2
  double *gathered, *midpoint, *half_step;
  std::span<double> element;  // tier 3
  float *rounded, *settled;
};

template <class X, Beside kBeside>
class Chunks {
 public:
  Chunks(Isa isa, std::span<const Operand> operands, const Combination& combination,
         const FirstTier& tier, const Settler& settler, DType out_dtype, const Buffers<X>& buffers)
      : isa_(isa),
        operands_(operands),
        combination_(combination),
        tier_(tier),
        settler_(settler),
        out_dtype_(out_dtype),
        quantise_(float_layout(out_dtype)),
        b_(buffers) {}

  // Elements [at, at + n) of the operands into out.
  void blend(size_t at, size_t n, std::byte* out) {
    decode(at, n);
    sum_terms(n);
    const RoundIfCertain<kBeside> round{quantise_, tier_.per_beside, tier_.least_beside};
    run(isa_, round, constant(b_.sum), constant(b_.beside), b_.rounded, doubtful_.data(), n);
    find_doubtful(n);
    if (doubts_ > 0) settle_doubtful();
    encode_on(isa_, out_dtype_, std::span<const float>(b_.rounded, n), out);
    for (size_t j = 0; j < doubts_; ++j) {
      if (b_.settled[j] == b_.settled[j]) continue;
      for (size_t k = 0; k < operands_.size(); ++k) b_.element[k] = value(k, index_[j]);
      store_bits(out_dtype_, out, index_[j], settler_.pattern(b_.element));
    }
  }

 private:
  static const double* constant(double* numbers) { return numbers; }
  X value(size_t k, size_t i) const { return b_.x[k * kBlendChunk + i]; }

  void decode(size_t at, size_t n) {
    for (size_t k = 0; k < operands_.size(); ++k) {
      const Operand& operand = operands_[k];
      decode_on(isa_, operand.dtype, operand.data + at * width(operand.dtype),
                b_.x.subspan(k * kBlendChunk, n));
    }
  }

  void sum_terms(size_t n) {
    const X* x = b_.x.data();
    const std::span<const double> c = tier_.coefficients;
    if (c.size() == 1) return run(isa_, FirstTerm<X, kBeside>{c[0]}, x, b_.sum, b_.beside, n);
    run(isa_, FirstTwoTerms<X, kBeside>{c[0], c[1]}, x, x + kBlendChunk, b_.sum, b_.beside, n);
    for (size_t k = 2; k < c.size(); ++k) {
      run(isa_, AddTerm<X, kBeside>{c[k]}, x + k * kBlendChunk, b_.sum, b_.beside, n);
    }
  }

  void find_doubtful(size_t n) {
    doubts_ = 0;
    for (size_t at = 0; at < n; at += kBlock) {
      if (!doubtful_[at / kBlock]) continue;
      const size_t end = std::min(n, at + kBlock);
      for (size_t i = at; i < end; ++i) {
        index_[doubts_] = static_cast<uint16_t>(i);
        doubts_ += b_.rounded[i] != b_.rounded[i];
      }
    }
  }

  // Operand k of the elements in doubt. What cannot be tracked becomes NaN and stays in doubt.
  void gather(size_t k) {
    for (size_t j = 0; j < doubts_; ++j) {
      const double x = value(k, index_[j]);
      b_.gathered[j] = sizeof(X) == sizeof(float) || comfortable(x) ? x : kUncertain;
    }
  }

  void track(double c, const double* x) {
    run(isa_, TrackProduct{c}, x, b_.tracked.hi, b_.tracked.lo, b_.tracked.lost, doubts_);
  }

  void settle_doubtful() {
    const auto [hi, lo, lost] = b_.tracked;
    const std::span<const double> terms = settler_.divisor_terms();
    for (double* sums : {hi, lo, lost}) std::fill_n(sums, doubts_, 0.0);
    for (size_t k = 0; k < operands_.size(); ++k) {
      gather(k);
      track(combination_.weights[k], b_.gathered);
    }
    run(isa_, NearestMidpoint{quantise_, terms[0]}, constant(hi), constant(lo), constant(lost),
        b_.midpoint, b_.half_step, doubts_);
    for (double term : terms) track(-term, b_.midpoint);
    run(isa_, StepToSide{quantise_, terms[0]}, constant(hi), constant(lo), constant(lost),
        constant(b_.midpoint), constant(b_.half_step), b_.settled, doubts_);
    for (size_t j = 0; j < doubts_; ++j) b_.rounded[index_[j]] = b_.settled[j];
  }

  Isa isa_;
  std::span<const Operand> operands_;
  const Combination& combination_;
  const FirstTier& tier_;
  const Settler& settler_;
  DType out_dtype_;
  Quantiser quantise_;
  Buffers<X> b_;
  size_t doubts_ = 0;
  std::array<uint16_t, kBlendChunk> index_;
  std::array<uint8_t, kBlendChunk / kBlock> doubtful_;
};

template <class X>
Buffers<X> buffers(std::span<X> x, std::span<double> f64, std::span<float> f32) {
  const auto part = [&](size_t k) { return f64.data() + k * kBlendChunk; };
  return {x,          part(0),
          part(1),    {part(2), part(3), part(4)},
          part(5),    part(6),
          part(7),    f64.subspan(8 * kBlendChunk),
          f32.data(), f32.data() + kBlendChunk};
}

// F64 output, or weights so large or small that the tiers before do not hold.
struct OneByOne {
  const Settler& settler;
  bool try_f64;

  HIERON_INLINE void operator()(const double* x, size_t inputs, double* element, DType out_dtype,
                                std::byte* out, size_t n) const {
    const std::span<double> values(element, inputs);
    for (size_t i = 0; i < n; ++i) {
      for (size_t k = 0; k < inputs; ++k) values[k] = x[k * kBlendChunk + i];
      const double quick = try_f64 ? settler.near_f64(values) : kUncertain;
      const uint64_t bits =
          quick == quick ? std::bit_cast<uint64_t>(quick) : settler.pattern(values);
      store_bits(out_dtype, out, i, bits);
    }
  }
};

}  // namespace

void blend_exact(Isa isa, const Combination& combination, std::span<const Operand> operands,
                 DType out_dtype, std::byte* out, size_t count, BlendScratch& scratch) {
  const Settler settler(combination, out_dtype);
  const auto tier = first_tier(combination, settler, operands, out_dtype);
  const size_t inputs = operands.size();
  const auto each_chunk = [&](const auto& work) {
    for (size_t at = 0; at < count; at += kBlendChunk) {
      work(at, std::min(kBlendChunk, count - at), out + at * width(out_dtype));
    }
  };
  if (!tier) {
    double* x = take(scratch.f64, inputs * (kBlendChunk + 1)).data();
    const OneByOne kernel{settler, out_dtype == DType::kF64 && settler.easy()};
    return each_chunk([&](size_t at, size_t n, std::byte* to) {
      for (size_t k = 0; k < inputs; ++k) {
        decode_on(isa, operands[k].dtype, operands[k].data + at * width(operands[k].dtype),
                  std::span(x + k * kBlendChunk, n));
      }
      run(isa, kernel, static_cast<const double*>(x), inputs, x + inputs * kBlendChunk, out_dtype,
          to, n);
    });
  }
  const auto chunks = [&]<class X>(std::span<X> x, std::span<double> f64, std::span<float> f32) {
    const auto parts = buffers(x, f64, f32);
    const auto work_with = [&](auto work) {
      each_chunk([&](size_t at, size_t n, std::byte* to) { work.blend(at, n, to); });
    };
    if (tier->beside == Beside::kErrors) {
      return work_with(
          Chunks<X, Beside::kErrors>(isa, operands, combination, *tier, settler, out_dtype, parts));
    }
    work_with(Chunks<X, Beside::kMagnitudes>(isa, operands, combination, *tier, settler, out_dtype,
                                             parts));
  };
  const size_t for_x = inputs * kBlendChunk, f64s = 8 * kBlendChunk + inputs;
  if (std::ranges::all_of(operands, fits_f32, &Operand::dtype)) {
    const std::span<float> f32 = take(scratch.f32, for_x + 2 * kBlendChunk);
    return chunks(f32.first(for_x), take(scratch.f64, f64s), f32.subspan(for_x));
  }
  const std::span<double> f64 = take(scratch.f64, for_x + f64s);
  chunks(f64.first(for_x), f64.subspan(for_x), take(scratch.f32, 2 * kBlendChunk));
}

}  // namespace hieron
