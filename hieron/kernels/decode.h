// Bulk conversion between storage and arithmetic. Exact; same bits on every ISA.
#pragma once

#include <cstddef>
#include <span>

#include "hieron/core/dtype.h"

namespace hieron {

// Raw stored elements -> f64 (out.size() elements). Exact for every format of <= 53 significant
// bits.
void decode(DType dtype, const std::byte* in, std::span<double> out);
// -> f32. Exact for formats that fit binary32 (BF16, F16, F32, F8 …); F64 and wide integers round.
void decode(DType dtype, const std::byte* in, std::span<float> out);

// Round to nearest even into storage. Floats only.
void encode(DType dtype, std::span<const double> in, std::byte* out);
void encode(DType dtype, std::span<const float> in, std::byte* out);

// One element's bit pattern, for formats of 8, 16, 32 or 64 bits.
uint64_t load_bits(DType dtype, const std::byte* data, size_t index);
void store_bits(DType dtype, std::byte* data, size_t index, uint64_t bits);

}  // namespace hieron
