// A tensor as lines along one of its axes, and what torch sums along them.
#pragma once

#include <span>

#include "hieron/core/shape.h"
#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {

// `count()` lines of `length` elements `stride` apart.
struct Lines {
  size_t blocks, length, stride;

  static Lines whole(size_t elements) { return {1, elements, 1}; }
  static Lines along_last(const Shape& shape, size_t elements);
  static Lines along_first(const Shape& shape, size_t elements);

  size_t count() const { return blocks * stride; }
  // Which line the i-th element is part of.
  size_t of(size_t i) const { return i / (length * stride) * stride + i % stride; }
};

// One number a line, rounded to the dtype.
Values sums(const Values& values, const Lines& lines, const Rounding& r);
Values norms(const Values& values, const Lines& lines, const Rounding& r);

}  // namespace hieron::mergekit
