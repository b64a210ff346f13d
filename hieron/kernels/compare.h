// Comparing stored elements bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hieron/core/dtype.h"

namespace hieron {

struct Difference {
  uint64_t equal = 0;             // elements whose bits are the same
  int64_t first_difference = -1;  // index of the first that differs, or -1
};

// Elements of `width` bytes (1, 2, 4 or 8).
Difference compare(const std::byte* a, const std::byte* b, size_t count, int width);

// How many of the elements are NaN or infinite.
uint64_t count_non_finite(DType dtype, const std::byte* data, size_t count);

}  // namespace hieron
