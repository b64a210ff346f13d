// Which 32-bit seed of a Mersenne Twister (MT19937) drew a mask that is known in part.
//
// torch keeps 32 bits of a seed on a CPU, and compares 24 bits of a word with the probability: an
// element is kept iff (word & 0xFFFFFF) < threshold. Some 60 elements, each known to be kept or
// dropped, determine the seed; all 2^32 are tried in about a minute.
//
// A few labels may be wrong (a kept change that rounding hides looks like a dropped one). A seed is
// a hit if, in order of the words, it contradicts at most 2 of the first 40 labels, then at most
// 1/16 of all, and if chance agrees as well for fewer than one seed in 2^40.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hieron/kernels/isa.h"

namespace hieron {

struct MaskObservation {
  uint64_t word;       // its place in the stream
  uint32_t threshold;  // 0 … 2^24
  bool kept;
};

struct SeedRange {
  uint64_t first, last;  // last exclusive
  bool operator==(const SeedRange&) const = default;
};

inline constexpr SeedRange kAllSeeds{0, uint64_t{1} << 32};

struct SeedHit {
  uint32_t seed;
  uint32_t set;              // which of the sets of observations
  uint32_t wrong, observed;  // contradicted labels, and all
  double bits;               // against_chance() of them
  bool operator==(const SeedHit&) const = default;
};

struct SeedSearch {
  uint64_t next;              // all seeds of the range below it have been tried
  std::vector<SeedHit> hits;  // by seed, then by set
};

struct SeedSearchOptions {
  SeedRange seeds = kAllSeeds;
  unsigned threads = 0;  // 0: as many as the machine has cores
  // Called several times a second, with what has been found and how far it is; false ends the
  // search.
  std::function<bool(const SeedSearch&)> go_on = {};
};

// Tries all seeds of the range on each set of observations: those of one set are of different
// words, in any order; a few hundred decide, more only cost time. Twenty sets in one search take
// about twice as long as one. Least time is taken where the first 20 or so observations have words
// below 60, up to six times that where they are scattered over a thousand, seven times where a set
// has none below 227 (docs/benchmarks.md). A set too small, or too one-sided, to tell one seed
// among 2^32 has no hits.
SeedSearch search_seeds(std::span<const std::vector<MaskObservation>> sets,
                        const SeedSearchOptions& options);
SeedSearch search_seeds_on(Isa isa, std::span<const std::vector<MaskObservation>> sets,
                           const SeedSearchOptions& options);

// A lower bound of −log2 of the probability that a seed taken at random contradicts at most `wrong`
// of the labels (Chernoff's, which is exact for none).
double against_chance(std::span<const MaskObservation> observations, uint32_t wrong);

// What people choose: small numbers, dates, negative numbers, runs of digits, words in hexadecimal.
// A second's work, to be done first.
std::span<const SeedRange> popular_seeds();

}  // namespace hieron
