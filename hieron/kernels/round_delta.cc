#include "hieron/kernels/round_delta.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hieron/core/float_layout.h"
#include "hieron/kernels/decode.h"
#include "hieron/kernels/exact_sum.h"
#include "hieron/kernels/isa.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/tracked_sum.h"

namespace hieron {
namespace {

// More than the roundings of the sums below, in units of the magnitudes that went into them: one
// for each difference, product, sum, the quotient, and the last sum, of up to 4,096 models.
constexpr double kDoubt = 0x1p-40;

struct AddTerm {
  HIERON_INLINE void operator()(const double* __restrict base, const double* __restrict x,
                                const double* __restrict c, double* __restrict sum,
                                double* __restrict magnitude, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double term = c[i] * (x[i] - base[i]);
      const double used = c[i] == 0 ? 0 : term;
      sum[i] += used;
      magnitude[i] += std::fabs(used);
    }
  }
};

struct AddWeight {
  HIERON_INLINE void operator()(const double* __restrict w, double* __restrict divisor,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) divisor[i] += w[i];
  }
};

struct Divide {
  HIERON_INLINE void operator()(const double* __restrict divisor, double* __restrict sum,
                                double* __restrict magnitude, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double d = divisor[i] == 0 ? 1 : divisor[i];
      sum[i] /= d;
      magnitude[i] /= std::fabs(d);
    }
  }
};

// sum and magnitude become the two ends of the interval that holds the exact value.
struct Enclose {
  HIERON_INLINE void operator()(const double* __restrict base, double* __restrict sum,
                                double* __restrict magnitude, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double value = magnitude[i] == 0 ? base[i] : base[i] + sum[i];
      const double doubt = magnitude[i] == 0 ? 0 : (std::fabs(base[i]) + magnitude[i]) * kDoubt;
      sum[i] = doubt == 0 ? value : value - doubt;
      magnitude[i] = doubt == 0 ? value : value + doubt;
    }
  }
};

// One element, whatever it takes.
class Settler {
 public:
  Settler(const DeltaSum& sum, DType dtype)
      : sum_(sum), dtype_(dtype), layout_(float_layout(dtype)) {}

  uint64_t pattern(size_t i) const {
    double divisor = 0;
    for (const double* w : sum_.weights) divisor += w[i];
    const bool plain = sum_.weights.empty() || divisor == 0;
    if (plain) divisor = 1;
    const double value = approximate(i, 0, plain) / divisor;
    if (!std::isfinite(value)) return encode(dtype_, value);
    const double doubt = std::fabs(value) * 0x1p-48;
    const uint64_t low = encode(dtype_, value - doubt), high = encode(dtype_, value + doubt);
    if (low == high) return low;
    // A border between two neighbours lies within the doubt: on which side of it is the value?
    const uint64_t inner = std::min(low & ~layout_.sign, high & ~layout_.sign);
    const double border = layout_.midpoint_above(inner).as_double();
    int side = sign(i, value < 0 ? -border : border, plain);
    if ((divisor < 0) != (value < 0)) side = -side;  // now: towards larger magnitudes
    const bool outer = side > 0 || (side == 0 && (inner & 1) != 0);
    return layout_.with_sign(outer ? inner + 1 : inner, value < 0);
  }

 private:
  // The terms of n·(base − border) + Σ c·(x − base).
  template <class Sum>
  void add_terms(Sum& sum, size_t i, double border, bool plain) const {
    const double base = sum_.base[i];
    const auto add_share = [&](double w) {
      sum.add_product(w, base);
      if (border != 0) sum.add_product(-w, border);
    };
    if (plain) {
      add_share(1);
    } else {
      for (const double* w : sum_.weights) add_share(w[i]);
    }
    for (size_t k = 0; k < sum_.values.size(); ++k) {
      const double c = sum_.coefficients[k][i];
      if (c == 0) continue;
      sum.add_product(c, sum_.values[k][i]);
      sum.add_product(-c, base);
    }
  }

  double approximate(size_t i, double border, bool plain) const {
    TrackedSum tracked;
    add_terms(tracked, i, border, plain);
    if (!std::isfinite(tracked.hi) || tracked.bound() <= std::fabs(tracked.value()) * 0x1p-60) {
      return tracked.value();
    }
    ExactSum exact;
    add_terms(exact, i, border, plain);
    return exact.sign() == 0 ? 0 : exact.near();
  }

  int sign(size_t i, double border, bool plain) const {
    TrackedSum tracked;
    add_terms(tracked, i, border, plain);
    const double value = tracked.value();
    if (std::fabs(value) > tracked.bound() * 2) return value > 0 ? 1 : -1;
    if (tracked.lost == 0) return 0;
    ExactSum exact;
    add_terms(exact, i, border, plain);
    return exact.sign();
  }

  const DeltaSum& sum_;
  const DType dtype_;
  const FloatLayout& layout_;
};

// act(i) for each element that two arrays store unlike; whole vectors of equal ones are passed
// over.
template <class Stored, class Act>
void each_unlike_as(const std::byte* a, const std::byte* b, size_t count, const Act& act) {
  constexpr size_t kBlock = 64 / sizeof(Stored);
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first);
    const size_t at = first * sizeof(Stored);
    if (std::memcmp(a + at, b + at, n * sizeof(Stored)) == 0) continue;
    for (size_t i = first; i < first + n; ++i) {
      if (load<Stored>(a, i) != load<Stored>(b, i)) act(i);
    }
  }
}

template <class Act>
void each_unlike(int bits, const std::byte* a, const std::byte* b, size_t count, const Act& act) {
  if (bits == 8) return each_unlike_as<uint8_t>(a, b, count, act);
  if (bits == 16) return each_unlike_as<uint16_t>(a, b, count, act);
  each_unlike_as<uint32_t>(a, b, count, act);
}

}  // namespace

void round_delta(const DeltaSum& sum, DType out_dtype, std::byte* out, size_t count,
                 std::vector<double>& scratch) {
  scratch.resize(std::max(scratch.size(), 4 * count));
  double* total = scratch.data();
  double* magnitude = total + count;
  double* divisor = magnitude + count;
  std::fill_n(total, 2 * count, 0.0);
  const Isa isa = best_isa();
  for (size_t k = 0; k < sum.values.size(); ++k) {
    run(isa, AddTerm{}, sum.base, sum.values[k], sum.coefficients[k], total, magnitude, count);
  }
  if (!sum.weights.empty()) {
    std::fill_n(divisor, count, 0.0);
    for (const double* w : sum.weights) run(isa, AddWeight{}, w, divisor, count);
    run(isa, Divide{}, static_cast<const double*>(divisor), total, magnitude, count);
  }
  const std::span<const double> low(total, count), high(magnitude, count);
  if (out_dtype == DType::kF64) {
    for (size_t i = 0; i < count; ++i)
      total[i] = magnitude[i] == 0 ? sum.base[i] : sum.base[i] + total[i];
    encode(out_dtype, low, out);
    return;
  }
  run(isa, Enclose{}, sum.base, total, magnitude, count);
  encode(out_dtype, low, out);
  auto* upper = reinterpret_cast<std::byte*>(divisor);
  encode(out_dtype, high, upper);
  const Settler settler(sum, out_dtype);
  each_unlike(info(out_dtype).bits, out, upper, count,
              [&](size_t i) { store_bits(out_dtype, out, i, settler.pattern(i)); });
}

int sign_of_delta(double base, std::span<const double> x, std::span<const double> coefficients) {
  TrackedSum tracked;
  for (size_t k = 0; k < x.size(); ++k) {
    tracked.add_product(coefficients[k], x[k]);
    tracked.add_product(-coefficients[k], base);
  }
  if (std::fabs(tracked.value()) > tracked.bound() * 2) return tracked.value() > 0 ? 1 : -1;
  if (tracked.lost == 0 || !std::isfinite(tracked.hi)) return 0;
  ExactSum sum;
  for (size_t k = 0; k < x.size(); ++k) {
    sum.add_product(coefficients[k], x[k]);
    sum.add_product(-coefficients[k], base);
  }
  return sum.sign();
}

}  // namespace hieron
