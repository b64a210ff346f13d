// Keyed pseudo-random numbers that depend on names, not on the order of calls: positions of
// samples, seeds of self-checks. Key = SHA-256(seed ‖ label); numbers = Philox4x32-10 of a counter
// under that key (Salmon et al., SC 2011), so that element i can be asked for without the ones
// before it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"

namespace hieron {

// 256 bits. An audit draws a fresh one and records it, unless the user gives one.
struct Seed {
  std::array<uint8_t, 32> bytes{};

  static Seed fresh();                                 // from the operating system
  static Result<Seed> from_hex(std::string_view hex);  // 1 to 64 hex digits, right-aligned
  std::string hex() const;                             // 64 hex digits
  friend bool operator==(const Seed&, const Seed&) = default;
};

class Prf {
 public:
  Prf(const Seed& seed, std::string_view label);
  uint64_t at(uint64_t counter) const;  // uniform 64 bits
  uint64_t below(uint64_t counter,
                 uint64_t n) const;        // uniform in [0, n), bias below 2^-64·n; n >= 1
  double uniform(uint64_t counter) const;  // [0, 1), 53 bits
  // Uniform 32 bits each, out[i] for place first + i: four places share a counter. (In bulk and
  // faster: kernels/random_words.h.)
  void fill(uint64_t first, std::span<uint32_t> out) const;

  // What Philox is keyed with, and the upper half of its counters.
  const std::array<uint32_t, 2>& key() const { return key_; }
  const std::array<uint32_t, 2>& domain() const { return domain_; }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> domain_;
};

}  // namespace hieron
