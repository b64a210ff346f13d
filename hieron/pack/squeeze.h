// Weights made smaller, without loss: the first bytes of all numbers, then the second ones, …
// (planes; the exponents come together), then deflate. bf16 weights shrink to about seven tenths.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace hieron {

inline constexpr int kMostPlanes = 8;

// `planes`: bytes of a number, 1 to kMostPlanes. Empty if that is no smaller.
std::vector<std::byte> squeeze(std::span<const std::byte> bytes, int planes);

// False unless `squeezed` is one zlib stream of exactly as many bytes as `out` has.
bool unsqueeze(std::span<const std::byte> squeezed, int planes, std::span<std::byte> out);

}  // namespace hieron
