#include "hieron/kernels/compare.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "hieron/kernels/lanes.h"

namespace hieron {
namespace {

template <class Stored>
struct CountEqual {
  HIERON_INLINE void operator()(const std::byte* a, const std::byte* b, size_t n,
                                uint64_t* equal) const {
    // Counted in lanes as wide as the elements, in pieces too short to overflow a byte.
    constexpr size_t kPiece = 128;
    uint64_t total = 0;
    for (size_t at = 0; at < n; at += kPiece) {
      const size_t end = std::min(n, at + kPiece);
      Stored count = 0;
      for (size_t i = at; i < end; ++i) {
        count = static_cast<Stored>(count + (load<Stored>(a, i) == load<Stored>(b, i)));
      }
      total += count;
    }
    *equal = total;
  }
};

template <class Stored>
Difference compare_elements(const std::byte* a, const std::byte* b, size_t count) {
  constexpr size_t kBlock = 4096;
  Difference difference;
  for (size_t at = 0; at < count; at += kBlock) {
    const size_t n = std::min(kBlock, count - at);
    const std::byte* left = a + at * sizeof(Stored);
    const std::byte* right = b + at * sizeof(Stored);
    uint64_t equal = n;
    if (std::memcmp(left, right, n * sizeof(Stored)) != 0) {
      run(best_isa(), CountEqual<Stored>{}, left, right, n, &equal);
      for (size_t i = 0; difference.first_difference < 0; ++i) {
        if (load<Stored>(left, i) != load<Stored>(right, i)) {
          difference.first_difference = static_cast<int64_t>(at + i);
        }
      }
    }
    difference.equal += equal;
  }
  return difference;
}

// Non-finite patterns are those above the largest magnitude, and FNUZ's lone NaN.
template <class Stored>
struct CountNonFinite {
  Stored sign, largest, lone_nan;
  HIERON_INLINE void operator()(const std::byte* data, size_t n, uint64_t* found) const {
    uint64_t total = 0;
    for (size_t i = 0; i < n; ++i) {
      const Stored bits = load<Stored>(data, i);
      const bool above = static_cast<Stored>(bits & static_cast<Stored>(~sign)) > largest;
      total += above | (bits == lone_nan);
    }
    *found = total;
  }
};

template <class Stored>
uint64_t count_patterns(const FloatLayout& layout, const std::byte* data, size_t count) {
  uint64_t found = 0;
  // Where NaN has company, the quiet NaN is above the largest magnitude and counted once.
  const CountNonFinite<Stored> kernel{static_cast<Stored>(layout.sign),
                                      static_cast<Stored>(layout.largest),
                                      static_cast<Stored>(layout.nan)};
  run(best_isa(), kernel, data, count, &found);
  return found;
}

}  // namespace

Difference compare(const std::byte* a, const std::byte* b, size_t count, int width) {
  switch (width) {
    case 1:
      return compare_elements<uint8_t>(a, b, count);
    case 2:
      return compare_elements<uint16_t>(a, b, count);
    case 4:
      return compare_elements<uint32_t>(a, b, count);
    default:
      assert(width == 8 && "elements are 1, 2, 4 or 8 bytes wide");
      return compare_elements<uint64_t>(a, b, count);
  }
}

uint64_t count_non_finite(DType dtype, const std::byte* data, size_t count) {
  const DTypeInfo& row = info(dtype);
  if (!row.format || row.format->non_finite == NonFinite::kNone) return 0;
  const FloatLayout& layout = float_layout(dtype);
  switch (row.bits) {
    case 8:
      return count_patterns<uint8_t>(layout, data, count);
    case 16:
      return count_patterns<uint16_t>(layout, data, count);
    case 32:
      return count_patterns<uint32_t>(layout, data, count);
    default:
      return count_patterns<uint64_t>(layout, data, count);
  }
}

}  // namespace hieron
