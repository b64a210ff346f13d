// blend (arithmetic.h) on a chosen instruction set, and its two halves. Tests compare the
// instruction sets; everybody else uses arithmetic.h.
#pragma once

#include <cstddef>
#include <span>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/isa.h"

namespace hieron {

void blend_on(Isa isa, Arithmetic arithmetic, const Combination& combination,
              std::span<const Operand> operands, DType out_dtype, std::byte* out, size_t count,
              BlendScratch& scratch);

// Every model but kExact: a formula evaluated as written, in f32.
void blend_as_written(Isa isa, Arithmetic arithmetic, const Combination& combination,
                      std::span<const Operand> operands, DType out_dtype, std::byte* out,
                      size_t count, BlendScratch& scratch);

// kExact.
void blend_exact(Isa isa, const Combination& combination, std::span<const Operand> operands,
                 DType out_dtype, std::byte* out, size_t count, BlendScratch& scratch);

// Elements worked on at once: their operands and sums stay in the first-level cache.
inline constexpr size_t kBlendChunk = 1024;

// `n` numbers of scratch; grows, never shrinks.
template <class T>
std::span<T> take(std::vector<T>& scratch, size_t n) {
  if (scratch.size() < n) scratch.resize(n);
  return std::span(scratch).first(n);
}

}  // namespace hieron
