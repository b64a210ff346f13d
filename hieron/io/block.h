// The unit of direct I/O. Used inside io only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hieron/io/file.h"

namespace hieron {

// Offsets, lengths and addresses of direct I/O are multiples of this. File systems that ask for
// more answer EINVAL and are then used through the page cache.
inline constexpr uint64_t kBlock = 4096;

inline uint64_t block_floor(uint64_t n) { return n / kBlock * kBlock; }
inline uint64_t block_ceil(uint64_t n) { return block_floor(n + kBlock - 1); }
inline uint64_t address(const std::byte* p) { return std::bit_cast<uintptr_t>(p); }

// Can the middle of this range go between device and caller without a copy?
inline bool congruent(uint64_t offset, const std::byte* p) {
  return (offset - address(p)) % kBlock == 0;
}

// Where a thread's unaligned direct I/O passes through: 4 MiB, taken when first needed.
std::span<std::byte> bounce_buffer();

}  // namespace hieron
