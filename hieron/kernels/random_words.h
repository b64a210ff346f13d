// Prf::fill, in vectors.
#pragma once

#include <cstdint>
#include <span>

#include "hieron/core/prf.h"
#include "hieron/kernels/isa.h"

namespace hieron {

// The same words as prf.fill(first, out), on any ISA.
void random_words(const Prf& prf, uint64_t first, std::span<uint32_t> out);
void random_words_on(Isa isa, const Prf& prf, uint64_t first, std::span<uint32_t> out);

}  // namespace hieron
