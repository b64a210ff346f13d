// Changes that models made to a base, x − b, for inputs that f32 holds exactly (BF16, F16, F32):
// how large they are, which are kept, and their merged sum. A change that is dropped becomes none,
// x = b.
//
// Loops over arrays of f32 that fit the first-level cache, kChangeStrip elements or fewer at a
// time. Same bits from every ISA.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hieron/core/dtype.h"
#include "hieron/kernels/isa.h"

namespace hieron {

inline constexpr size_t kChangeStrip = 1024;
inline constexpr size_t kMostChangedModels = 4;

bool holds_changes(DType dtype);  // BF16, F16, F32

// keys[i] = the bits of |x_i − b_i| rounded to f32, so that keys compare as the numbers do.
void change_keys(std::span<const float> x, const float* base, uint32_t* keys, Isa isa = best_isa());

// kept[i] = x_i where the change is kept, else b_i. In place if kept = x.
void keep_between(uint32_t least, uint32_t below, std::span<const float> x, const float* base,
                  float* kept, Isa isa = best_isa());  // least <= key < below
void keep_flagged(const uint8_t* flags, std::span<const float> x, const float* base, float* kept,
                  Isa isa = best_isa());

// Σ|x − b|, in eight lanes: element i of a leaf goes to lane i mod 8. Strips that follow one
// another in a leaf are added to the same lanes; all but the last are multiples of eight.
struct AbsoluteSum {
  std::array<double, 8> lanes{};
  void add(std::span<const float> x, const float* base, Isa isa = best_isa());
  double total() const;
};

// For each element, with d_k = x_k − b:
//
//   elect:   s = Σ c_k·d_k, and only the k stay whose c_k·d_k has the sign of s (+ if s = 0)
//   value:   b + Σ l_k·d_k / D over those that stay,   D = Σ w_k over them if `divide`, else 1
//
// `divide` without `elect` is for the caller to put into l.
struct ChangeSum {
  size_t models = 0;  // at most kMostChangedModels
  bool elect = false, divide = false;
  std::array<double, kMostChangedModels> c{}, l{}, w{};
  bool rounded_l = false;  // l are not the very numbers that are meant, but the nearest

  // Are all numbers of a size that f64 decides about nearly all elements?
  bool can_enclose() const;
};

// Stores the correctly rounded values, as BF16, F16 or F32, of the elements that f64 decides, and
// returns how many it leaves open; their indices are in `open`. At most kChangeStrip elements.
size_t round_changes(const ChangeSum& sum, std::span<const float> base,
                     const std::array<const float*, kMostChangedModels>& x, DType out_dtype,
                     std::byte* out, uint32_t* open, Isa isa = best_isa());

}  // namespace hieron
