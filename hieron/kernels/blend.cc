#include <cassert>

#include "hieron/kernels/arithmetic.h"
#include "hieron/kernels/blend_on.h"

namespace hieron {

void blend_on(Isa isa, Arithmetic arithmetic, const Combination& combination,
              std::span<const Operand> operands, DType out_dtype, std::byte* out, size_t count,
              BlendScratch& scratch) {
  assert(!operands.empty() && combination.weights.size() == operands.size());
  assert(info(out_dtype).blend && "weights are stored in a blendable format");
  assert(!info(arithmetic).two_inputs_only || operands.size() == 2);
  if (arithmetic == Arithmetic::kExact) {
    return blend_exact(isa, combination, operands, out_dtype, out, count, scratch);
  }
  blend_as_written(isa, arithmetic, combination, operands, out_dtype, out, count, scratch);
}

void blend(Arithmetic arithmetic, const Combination& combination, std::span<const Operand> operands,
           DType out_dtype, std::byte* out, size_t count, BlendScratch& scratch) {
  blend_on(best_isa(), arithmetic, combination, operands, out_dtype, out, count, scratch);
}

}  // namespace hieron
