// decode.h on a chosen instruction set. Tests compare them; everybody else uses decode.h.
#pragma once

#include <cstddef>
#include <span>

#include "hieron/core/dtype.h"
#include "hieron/kernels/isa.h"

namespace hieron {

void decode_on(Isa isa, DType dtype, const std::byte* in, std::span<double> out);
void decode_on(Isa isa, DType dtype, const std::byte* in, std::span<float> out);
void encode_on(Isa isa, DType dtype, std::span<const double> in, std::byte* out);
void encode_on(Isa isa, DType dtype, std::span<const float> in, std::byte* out);

}  // namespace hieron
