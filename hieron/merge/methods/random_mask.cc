#include "hieron/merge/methods/random_mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace hieron {
namespace {

constexpr size_t kShortRow = 512;  // sorted by comparison; longer rows by digits

Seed seed_of(uint64_t number) {
  Seed seed;
  for (size_t i = 0; i < 8; ++i) {
    seed.bytes[seed.bytes.size() - 1 - i] = static_cast<uint8_t>(number >> (8 * i));
  }
  return seed;
}

// u32 words below this are kept.
uint64_t border(double probability) {
  return static_cast<uint64_t>(std::clamp(probability, 0.0, 1.0) * 0x1p32);
}

// One pass of a counting sort by eleven bits of the key, ascending, stable.
void sort_digit(std::span<const uint64_t> in, std::span<uint64_t> out, int shift) {
  constexpr size_t kDigits = 2048;
  std::array<uint32_t, kDigits> place{};
  for (uint64_t v : in) ++place[v >> shift & (kDigits - 1)];
  uint32_t sum = 0;
  for (uint32_t& p : place) sum += std::exchange(p, sum);
  for (uint64_t v : in) out[place[v >> shift & (kDigits - 1)]++] = v;
}

}  // namespace

RandomMask::RandomMask(uint64_t seed, std::string_view tensor, size_t input)
    : prf_(seed_of(seed), fmt::format("merge mask {} {}", input, tensor)) {}

void RandomMask::choose(uint64_t first, double density, std::span<uint8_t> keep,
                        WorkScratch& scratch) const {
  scratch.u32.resize(std::max(scratch.u32.size(), keep.size()));
  prf_.fill(first, std::span(scratch.u32).first(keep.size()));
  const uint64_t below = border(density);
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = scratch.u32[i] < below;
}

void RandomMask::choose_ranked(uint64_t first, std::span<const uint32_t> keys, double density,
                               double epsilon, uint8_t* keep, WorkScratch& scratch) const {
  const size_t n = keys.size();
  scratch.u64.resize(std::max(scratch.u64.size(), 2 * n));
  std::span<uint64_t> order(scratch.u64.data(), n), other(scratch.u64.data() + n, n);
  // Ascending; the higher index first among equals.
  for (size_t i = 0; i < n; ++i) order[i] = uint64_t{keys[n - 1 - i]} << 32 | (n - 1 - i);
  if (n < kShortRow) {
    std::ranges::sort(order, {}, [](uint64_t v) { return v ^ 0xFFFFFFFF; });
  } else {
    for (int shift = 32; shift < 64; shift += 11) {
      sort_digit(order, other, shift);
      std::swap(order, other);
    }
  }
  scratch.u32.resize(std::max(scratch.u32.size(), n));
  prf_.fill(first, std::span(scratch.u32).first(n));
  const double step = n > 1 ? 2 * epsilon / static_cast<double>(n - 1) : 0;
  const double least = n > 1 ? density - epsilon : density;
  for (size_t rank = 0; rank < n; ++rank) {
    const auto i = static_cast<uint32_t>(order[rank]);
    keep[i] = scratch.u32[i] < border(least + step * static_cast<double>(rank));
  }
}

}  // namespace hieron
