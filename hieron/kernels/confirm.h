// Confirming a blend without computing it: is s the rounding of w0·x + w1·y, whatever the last bits
// of the arithmetic? Three loads and a few f32 operations an element, several times faster than an
// exact blend.
//
// Yes and no are certain for every arithmetic that rounds once: the f32 value differs from the
// exact one by less than 2^-21·(|w0·x| + |w1·y|), which also covers the slack of docs/assay.md §2,
// and s lies nearer, or farther, than that from the ends of its cell. Elements near an end, tiny
// ones and whatever is not finite stay unsure: they must be computed. On real merges that is about
// one element in a hundred (exact ties).
#pragma once

#include <cstddef>
#include <cstdint>

namespace hieron {

enum class Confirmed : uint8_t { kUnsure = 0, kYes = 1, kNo = 2 };

struct ConfirmedCounts {
  uint64_t yes = 0, no = 0;  // the rest is unsure
  uint64_t informative = 0;  // x and y differ in their bits
  uint64_t informative_yes = 0;
  uint64_t not_finite = 0;  // s is NaN or infinite
};

// BF16 throughout. w0 and w1 are the effective weights (divided by their sum where the recipe
// normalises). `confirmed`: one byte an element.
ConfirmedCounts confirm_bf16(float w0, float w1, const std::byte* s, const std::byte* x,
                             const std::byte* y, size_t count, Confirmed* confirmed);

}  // namespace hieron
