#include "hieron/kernels/changes.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "hieron/kernels/decode_on.h"
#include "hieron/kernels/lanes.h"
#include "hieron/kernels/tracked_sum.h"

namespace hieron {
namespace {

// More than the roundings of the sums below, in units of the magnitudes that went into them.
constexpr double kDoubt = 0x1p-40;
// A divisor that is a smaller part of its weights has lost too many digits to cancellation.
constexpr double kLeastShare = 0x1p-8;
// Coefficients outside of this range could leave the range of f64 with the changes of f32 inputs.
constexpr double kLeastCoefficient = 0x1p-600, kMostCoefficient = 0x1p600;

// The f32 difference of two f32 is the exact one rounded once; so is, since 53 >= 2·24 + 2, the f64
// difference rounded to f32.
HIERON_INLINE uint32_t key_of(float x, float base) {
  return std::bit_cast<uint32_t>(x - base) & 0x7FFFFFFF;
}

HIERON_INLINE float choose_bits(uint32_t mask, float a, float b) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & mask) |
                              (std::bit_cast<uint32_t>(b) & ~mask));
}

struct Keys {
  HIERON_INLINE void operator()(const float* x, const float* base, uint32_t* __restrict keys,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) keys[i] = key_of(x[i], base[i]);
  }
};

// Keys have 31 bits, so that signed comparisons, which all vector units have, do.
struct KeepBetween {
  int32_t least, below;
  HIERON_INLINE void operator()(const float* x, const float* base, float* kept, size_t n) const {
    HIERON_NO_OVERLAP
    for (size_t i = 0; i < n; ++i) {
      const auto key = static_cast<int32_t>(key_of(x[i], base[i]));
      const bool keep = (key >= least) & (key < below);
      kept[i] = choose_bits(0u - static_cast<uint32_t>(keep), x[i], base[i]);
    }
  }
};

struct KeepFlagged {
  HIERON_INLINE void operator()(const uint8_t* flags, const float* x, const float* base,
                                float* kept, size_t n) const {
    HIERON_NO_OVERLAP
    for (size_t i = 0; i < n; ++i) kept[i] = choose_bits(0u - flags[i], x[i], base[i]);
  }
};

struct AddAbsolute {
  HIERON_INLINE void operator()(const float* x, const float* base, size_t n, double* lanes) const {
    std::array<double, 8> sum;
    std::memcpy(sum.data(), lanes, sizeof sum);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t lane = 0; lane < 8; ++lane) {
        sum[lane] += std::fabs(double{x[i + lane]} - double{base[i + lane]});
      }
    }
    for (size_t lane = 0; i < n; ++i, ++lane)
      sum[lane] += std::fabs(double{x[i]} - double{base[i]});
    std::memcpy(lanes, sum.data(), sizeof sum);
  }
};

struct Constants {
  std::array<double, kMostChangedModels> c, l, w;
  double least_divisor;
  double widen, least_widen;  // by how much more than the doubt: what rounding to f32 may take
};

// What is lost when f32 is to hold a number. (If nothing, its product with a short one is exact.)
HIERON_INLINE double lost_in_f32(double value) {
  return std::fabs(double{static_cast<float>(value)} - value);
}

// Has 24 bits at most, none below 2^-14: f64 holds sums of a few, and products with f32, exactly.
bool is_short(double v) { return std::fabs(v) <= 0x1p10 && v * 0x1p14 == std::rint(v * 0x1p14); }

// Zero if 1/v is exact as computed: for a short v, since then the product is.
HIERON_INLINE double lost_in_inverse(double inverse, double v) {
  return lost_in_f32(inverse) + std::fabs(inverse * v - 1);
}

// low and high: f32 with the exact value between them, or -1 and 1 if f64 cannot tell who stays or
// what the divisor is. kShort, for weights that are short numbers (1, 0.5 …) and make many sums
// that cancel or lie half-way between two values to be stored: where each step turns out to be
// exact, so is the value, and both ends are it.
template <size_t kModels, bool kElect, bool kDivide, bool kShort>
struct EncloseSum {
  HIERON_INLINE void operator()(const Constants& k, const float* base,
                                const std::array<const float*, kMostChangedModels>& x,
                                float* __restrict low, float* __restrict high, size_t n) const {
    for (size_t i = 0; i < n; ++i) {
      const double b = base[i];
      std::array<double, kModels> d, v;
      double votes = 0, size = 0;
      double lost = 0, votes_lost = 0, error = 0;  // by rounding
      for (size_t m = 0; m < kModels; ++m) {
        d[m] = two_sum(x[m][i], -b, error);
        if (kShort) lost += std::fabs(error) + lost_in_f32(d[m]);
        v[m] = k.c[m] * d[m];
        votes = two_sum(votes, v[m], error);
        // A sum of two is zero only if it is that exactly.
        if (kShort && m > 1) votes_lost += std::fabs(error);
        size += std::fabs(v[m]);
      }
      votes_lost += lost;
      const double side = std::copysign(1.0, votes);
      double sum = 0, magnitude = 0, divisor = 0;
      for (size_t m = 0; m < kModels; ++m) {
        const bool stays = !kElect || v[m] * side > 0;
        const double term = stays ? k.l[m] * d[m] : 0;
        sum = two_sum(sum, term, error);
        if (kShort && m > 0) lost += std::fabs(error);
        magnitude += std::fabs(term);
        if (kDivide) divisor += stays ? k.w[m] : 0;
      }
      const double share = kDivide ? 1 / divisor : 1;
      const double value = two_sum(b, sum * share, error);
      if (kShort && kDivide) lost += lost_in_inverse(share, divisor);
      if (kShort) lost += std::fabs(error) + lost_in_f32(value);
      const double doubt = (std::fabs(b) + magnitude * std::fabs(share)) * kDoubt +
                           std::fabs(value) * k.widen + k.least_widen;
      bool unsure = false;
      if (kElect) unsure = (std::fabs(votes) <= size * kDoubt) & (size != 0);
      if (kElect && kShort) unsure &= votes_lost != 0;
      if (kDivide) unsure |= std::fabs(divisor) < k.least_divisor;
      const bool unchanged = magnitude == 0;
      const double sure = unchanged ? b : value;
      const bool known = unchanged | (kShort && lost == 0);
      const double from = known ? sure : sure - doubt, to = known ? sure : sure + doubt;
      const bool open = unsure & !(unchanged & (size == 0));
      low[i] = open ? -1.0f : static_cast<float>(from);
      high[i] = open ? 1.0f : static_cast<float>(to);
    }
  }
};

template <size_t kModels, bool kElect, bool kDivide, bool kShort>
void enclose(Isa isa, const Constants& k, const float* base,
             const std::array<const float*, kMostChangedModels>& x, float* low, float* high,
             size_t n) {
  run(isa, EncloseSum<kModels, kElect, kDivide, kShort>{}, k, base, x, low, high, n);
}

using Enclose = std::remove_cvref_t<decltype(enclose<1, false, false, false>)>*;

template <size_t kModels, bool kShort>
Enclose enclose_for(bool elect, bool divide) {
  if (!elect) return enclose<kModels, false, false, kShort>;
  return divide ? enclose<kModels, true, true, kShort> : enclose<kModels, true, false, kShort>;
}

template <bool kShort>
Enclose enclose_for(const ChangeSum& sum) {
  switch (sum.models) {
    case 1:
      return enclose_for<1, kShort>(sum.elect, sum.divide);
    case 2:
      return enclose_for<2, kShort>(sum.elect, sum.divide);
    case 3:
      return enclose_for<3, kShort>(sum.elect, sum.divide);
    default:
      return enclose_for<4, kShort>(sum.elect, sum.divide);
  }
}

bool all_short(const ChangeSum& sum) {
  return !sum.rounded_l && std::ranges::all_of(sum.c, is_short) &&
         std::ranges::all_of(sum.l, is_short) && std::ranges::all_of(sum.w, is_short);
}

double least_divisor(const std::array<double, kMostChangedModels>& weights) {
  double sum = 0, size = 0;
  for (double w : weights) {
    sum += w;
    size += std::fabs(w);
  }
  const bool may_cancel = std::fabs(sum) != size;
  return may_cancel ? std::max(size * kLeastShare, kLeastCoefficient) : kLeastCoefficient;
}

// The indices at which two arrays differ. Whole vectors of equal ones are passed over.
template <class Stored>
size_t unlike(const std::byte* a, const std::byte* b, size_t count, uint32_t* found) {
  constexpr size_t kBlock = 32 / sizeof(Stored);
  size_t open = 0;
  for (size_t first = 0; first < count; first += kBlock) {
    const size_t n = std::min(kBlock, count - first), at = first * sizeof(Stored);
    if (std::memcmp(a + at, b + at, n * sizeof(Stored)) == 0) continue;
    for (size_t i = first; i < first + n; ++i) {
      found[open] = static_cast<uint32_t>(i);
      open += load<Stored>(a, i) != load<Stored>(b, i);
    }
  }
  return open;
}

}  // namespace

bool holds_changes(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

void change_keys(std::span<const float> x, const float* base, uint32_t* keys, Isa isa) {
  run(isa, Keys{}, x.data(), base, keys, x.size());
}

void keep_between(uint32_t least, uint32_t below, std::span<const float> x, const float* base,
                  float* kept, Isa isa) {
  constexpr uint32_t kMost = 0x7FFFFFFF;
  const KeepBetween keep{static_cast<int32_t>(std::min(least, kMost)),
                         static_cast<int32_t>(std::min(below, kMost))};
  run(isa, keep, x.data(), base, kept, x.size());
}

void keep_flagged(const uint8_t* flags, std::span<const float> x, const float* base, float* kept,
                  Isa isa) {
  run(isa, KeepFlagged{}, flags, x.data(), base, kept, x.size());
}

void AbsoluteSum::add(std::span<const float> x, const float* base, Isa isa) {
  run(isa, AddAbsolute{}, x.data(), base, x.size(), lanes.data());
}

double AbsoluteSum::total() const {
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

bool ChangeSum::can_enclose() const {
  if (models == 0 || models > kMostChangedModels) return false;
  const auto usable = [this](const std::array<double, kMostChangedModels>& numbers) {
    return std::all_of(numbers.begin(), numbers.begin() + static_cast<ptrdiff_t>(models),
                       [](double v) {
                         const double size = std::fabs(v);
                         return v == 0 || (size >= kLeastCoefficient && size <= kMostCoefficient);
                       });
  };
  return usable(c) && usable(l) && usable(w);
}

size_t round_changes(const ChangeSum& sum, std::span<const float> base,
                     const std::array<const float*, kMostChangedModels>& x, DType out_dtype,
                     std::byte* out, uint32_t* open, Isa isa) {
  assert(base.size() <= kChangeStrip && holds_changes(out_dtype));
  const size_t n = base.size();
  const bool wide = out_dtype == DType::kF32;
  const Constants constants{
      sum.c, sum.l, sum.w, least_divisor(sum.w), wide ? 0 : 0x1p-22, wide ? 0 : 0x1p-148};
  std::array<float, kChangeStrip> low, high;
  const Enclose enclose = all_short(sum) ? enclose_for<true>(sum) : enclose_for<false>(sum);
  enclose(isa, constants, base.data(), x, low.data(), high.data(), n);
  std::array<std::byte, kChangeStrip * sizeof(float)> upper;
  encode_on(isa, out_dtype, std::span<const float>(low).first(n), out);
  encode_on(isa, out_dtype, std::span<const float>(high).first(n), upper.data());
  return wide ? unlike<uint32_t>(out, upper.data(), n, open)
              : unlike<uint16_t>(out, upper.data(), n, open);
}

}  // namespace hieron
