#include "hieron/core/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace hieron {

std::optional<uint64_t> element_count(const Shape& shape) {
  bool empty = false;
  uint64_t product = 1;
  for (uint64_t extent : shape) {
    // A zero anywhere makes the product zero, but the other extents must still make sense together:
    // row_length multiplies them.
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, extent, &product) || product > INT64_MAX) {
      return std::nullopt;
    }
  }
  return empty ? 0 : product;
}

uint64_t row_length(const Shape& shape) {
  if (shape.size() < 2) return 1;
  uint64_t product = 1;
  for (size_t axis = 1; axis < shape.size(); ++axis) product *= shape[axis];
  return product;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace hieron
