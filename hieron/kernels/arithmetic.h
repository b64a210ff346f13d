// Arithmetic models: the same recipe, computed as different programs compute it, down to the last
// bit.
//
// One table row per model: name, formula, where it comes from. `blend` computes a weighted
// combination of K inputs under one model; replaying a recipe is calling it, and a merge in that
// arithmetic is the same call.
//
// Notation: x_k input values, w_k weights as written (f64 of the decimal), n = Σ w_k if normalised
// else 1, r() = round to nearest even to the working format, f32() likewise to binary32; the last
// input is the base of the delta and lerp forms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "hieron/core/dtype.h"

namespace hieron {

enum class Arithmetic : uint8_t {
  kExact,    // the correctly rounded value of Σ w_k·x_k / n                             "exact"
  kF32Once,  // f32: Σ f32(w_k)·x_k by multiply, then add, in order; divide by f32Σ f32(w_k); one
             // rounding
  kF32Fma,   // f32: acc = fma(x_k, f32(w_k), acc) from 0 in order; divide; one rounding (mergekit
             // 0.1.5 linear)
  kF32Lerp,  // f32: q + t·(p − q), three roundings to f32, then one to storage; t = f32(w_0/n); two
             // inputs
  kBf16Products,  // r = bf16: r( r(f32Σ r(r(w_k)·x_k)) / r(Σ r(w_k)) )      (mergekit ≤ 0.1.4
                  // linear)
  kBf16Delta,     // r = bf16: d = r(x_k − base); r(base + r(f32Σ r(d_k·r(w_k))))    (task vectors,
                  // both versions)
  kF16Once,       // f32Once of inputs cast to f16, rounded to f16, then to storage
  kF16Products,   // as bf16-products with r = f16
  kF16Delta,      // as bf16-delta with r = f16
};

struct ArithmeticInfo {
  Arithmetic arithmetic;
  std::string_view name, formula, source;
  bool two_inputs_only;
};

std::span<const ArithmeticInfo> arithmetics();
const ArithmeticInfo& info(Arithmetic arithmetic);
std::optional<Arithmetic> parse_arithmetic(std::string_view name);

// Values of one input, raw as stored.
struct Operand {
  DType dtype;
  const std::byte* data;
};

struct Combination {
  std::vector<double> weights;  // one per operand, as the recipe says them
  bool normalize = true;
};

// Scratch memory for `blend`: one per thread, grows to what is needed and stays.
struct BlendScratch {
  std::vector<double> f64;
  std::vector<float> f32;
};

// out[i] = the combination of the operands' i-th elements under `arithmetic`, stored as
// `out_dtype`. The result does not depend on how a tensor is cut into calls, on the thread, or on
// the ISA; for kExact not on the order of the operands either. NaN and infinities propagate as IEEE
// says; in kExact a NaN result is the quiet NaN 0x7fc0-like pattern of the format. kExact with a
// zero result: -0 iff every product is -0. Cost (bf16, two inputs, one core): see
// docs/benchmarks.md.
void blend(Arithmetic arithmetic, const Combination& combination, std::span<const Operand> operands,
           DType out_dtype, std::byte* out, size_t count, BlendScratch& scratch);

}  // namespace hieron
