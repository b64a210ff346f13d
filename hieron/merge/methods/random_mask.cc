#include "hieron/merge/methods/random_mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "hieron/kernels/isa.h"
#include "hieron/kernels/random_words.h"

namespace hieron {
namespace {

Seed seed_of(uint64_t number) {
  Seed seed;
  for (size_t i = 0; i < 8; ++i) {
    seed.bytes[seed.bytes.size() - 1 - i] = static_cast<uint8_t>(number >> (8 * i));
  }
  return seed;
}

// A word below this is kept.
uint64_t border(double probability) {
  return static_cast<uint64_t>(std::clamp(probability, 0.0, 1.0) * 0x1p32);
}

struct Below {
  HIERON_INLINE void operator()(const uint32_t* words, uint32_t border, uint8_t* __restrict keep,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) keep[i] = words[i] < border;
  }
};

// The probability with which an element is kept grows by `step` from rank to rank.
struct Chances {
  Chances(double density, double epsilon, size_t n)
      : least(n > 1 ? density - epsilon : density),
        step(n > 1 ? 2 * epsilon / static_cast<double>(n - 1) : 0) {}

  // word < floor(p·2^32), without the floor: whole numbers are below it when the next is at most
  // p·2^32.
  HIERON_INLINE bool keeps(uint32_t word, uint32_t rank) const {
    return static_cast<double>(word) + 1 <= (least + step * static_cast<double>(rank)) * 0x1p32;
  }

  double least, step;
};

struct KeepByRank {
  Chances chances;
  HIERON_INLINE void operator()(const uint32_t* words, const uint32_t* ranks,
                                uint8_t* __restrict keep, size_t n) const {
    for (size_t i = 0; i < n; ++i) keep[i] = chances.keeps(words[i], ranks[i]);
  }
};

// How many elements of a row are of lower rank than element i: smaller keys, and equal ones that
// come later.
struct CountBelow {
  HIERON_INLINE void operator()(const uint32_t* keys, uint32_t at, uint32_t* rank, size_t n) const {
    const auto key = static_cast<int32_t>(keys[at]);
    uint32_t count = 0;
    for (size_t i = 0; i < n; ++i) count += static_cast<int32_t>(keys[i]) < key;
    for (size_t i = at + 1; i < n; ++i) count += static_cast<int32_t>(keys[i]) == key;
    *rank = count;
  }
};

// Bins of keys, ascending: one for zeros, one for keys more than sixteen binades below the largest
// of the row, and about as many for the others as the row is long.
class RankBins {
 public:
  explicit RankBins(std::span<const uint32_t> keys) {
    const int bits = std::clamp(static_cast<int>(std::bit_width(keys.size())), 8, 16);
    spread_ = uint32_t{1} << bits;
    shift_ = 23 - (bits - 4);
    const uint32_t top = *std::ranges::max_element(keys) >> shift_;
    low_ = top - std::min(top, spread_);
  }

  size_t count() const { return spread_ + 2; }
  HIERON_INLINE uint32_t of(uint32_t key) const {
    return std::max(key >> shift_, low_) - low_ + (key != 0);
  }
  // May the key's bin hold others that differ from it?
  HIERON_INLINE uint32_t may_mix(uint32_t key) const {
    const uint32_t rest = key & ((uint32_t{1} << shift_) - 1);
    return (key != 0) & ((rest != 0) | (key >> shift_ <= low_));
  }

 private:
  int shift_;
  uint32_t spread_, low_;
};

// Each key's bin, with the sign bit if it may mix.
struct FindBins {
  static constexpr uint32_t kMayMix = uint32_t{1} << 31;
  RankBins bins;
  HIERON_INLINE void operator()(const uint32_t* keys, uint32_t* __restrict found, size_t n) const {
    for (size_t i = 0; i < n; ++i) found[i] = bins.of(keys[i]) | bins.may_mix(keys[i]) << 31;
  }
};

// ranks[i] by sorting: smaller keys first, of equal ones the higher index.
void sort_ranks(std::span<const uint32_t> keys, std::span<uint32_t> ranks,
                std::vector<uint64_t>& order) {
  const size_t n = keys.size();
  order.resize(std::max(order.size(), n));
  for (size_t i = 0; i < n; ++i) order[i] = uint64_t{keys[i]} << 32 | (UINT32_MAX - i);
  std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(n));
  for (size_t r = 0; r < n; ++r) {
    ranks[UINT32_MAX - static_cast<uint32_t>(order[r])] = static_cast<uint32_t>(r);
  }
}

// The ranks of a row by counting, which is exact in bins of equal keys. Mixed ones hand out the
// right ranks in another order; where it matters for the mask, an element's own is counted out.
class RowRanks {
 public:
  RowRanks(std::span<const uint32_t> keys, const Chances& chances, WorkScratch& scratch)
      : keys_(keys), chances_(chances), scratch_(scratch), bins_(keys) {
    const size_t n = keys.size();
    scratch.u32.resize(std::max(scratch.u32.size(), 3 * n));
    words_ = scratch.u32.data();
    ranks_ = words_ + n;
    doubtful_ = ranks_ + n;
    scratch.u64.resize(std::max(scratch.u64.size(), bins_.count()));
    tally_ = scratch.u64.data();
  }

  // Where the row's random words go.
  std::span<uint32_t> words() { return {words_, keys_.size()}; }

  std::span<const uint32_t> find() {
    const size_t n = keys_.size();
    run(best_isa(), FindBins{bins_}, keys_.data(), ranks_, n);
    count();
    size_t doubtful = 0;
    for (size_t i = n; i-- > 0;) {
      uint64_t& tally = tally_[ranks_[i] & ~FindBins::kMayMix];
      const uint64_t next = tally++;
      ranks_[i] = static_cast<uint32_t>(next);
      doubtful_[doubtful] = static_cast<uint32_t>(i);
      doubtful += next >> 32;
    }
    settle({doubtful_, doubtful});
    return {ranks_, n};
  }

 private:
  static constexpr size_t kMostCounted = 64;  // by a scan of the row each; for more, it is sorted
  static constexpr uint64_t kMixed = uint64_t{1} << 32;

  // By bin: the lowest rank in it, and above that whether its keys may differ.
  void count() {
    std::fill_n(tally_, bins_.count(), uint64_t{0});
    for (size_t i = 0; i < keys_.size(); ++i) {
      const uint64_t mix = ranks_[i] & FindBins::kMayMix;
      tally_[ranks_[i] & ~FindBins::kMayMix] += 1 + (mix << 1);
    }
    uint64_t sum = 0;
    for (size_t bin = 0; bin < bins_.count(); ++bin) {
      const uint64_t elements = tally_[bin] & (kMixed - 1), mixed = tally_[bin] >= kMixed;
      tally_[bin] = sum | (mixed & static_cast<uint64_t>(elements > 1)) << 32;
      sum += elements;
    }
  }

  // Elements of mixed bins, whose ranks are all given by now: a bin's tally has reached the next's.
  void settle(std::span<const uint32_t> elements) {
    size_t counted = 0;
    for (uint32_t i : elements) {
      const uint32_t bin = bins_.of(keys_[i]);
      const auto end = static_cast<uint32_t>(tally_[bin]);
      const auto first = bin > 0 ? static_cast<uint32_t>(tally_[bin - 1]) : 0;
      if (chances_.keeps(words_[i], first) == chances_.keeps(words_[i], end - 1)) continue;
      if (++counted > kMostCounted) {
        return sort_ranks(keys_, {ranks_, keys_.size()}, scratch_.u64);
      }
      run(best_isa(), CountBelow{}, keys_.data(), i, &ranks_[i], keys_.size());
    }
  }

  const std::span<const uint32_t> keys_;
  const Chances& chances_;
  WorkScratch& scratch_;
  const RankBins bins_;
  uint32_t *words_, *ranks_;  // ranks: the bins, at first
  uint32_t* doubtful_;
  uint64_t* tally_;
};

}  // namespace

RandomMask::RandomMask(uint64_t seed, std::string_view tensor, size_t input)
    : prf_(seed_of(seed), fmt::format("merge mask {} {}", input, tensor)) {}

void RandomMask::choose(uint64_t first, double density, std::span<uint8_t> keep,
                        WorkScratch& scratch) const {
  scratch.u32.resize(std::max(scratch.u32.size(), keep.size()));
  const std::span<uint32_t> words(scratch.u32.data(), keep.size());
  const uint64_t below = border(density);
  if (below > UINT32_MAX) {
    std::ranges::fill(keep, uint8_t{1});
    return;
  }
  random_words(prf_, first, words);
  run(best_isa(), Below{}, static_cast<const uint32_t*>(words.data()), static_cast<uint32_t>(below),
      keep.data(), keep.size());
}

void RandomMask::words(uint64_t first, std::span<uint32_t> out) const {
  random_words(prf_, first, out);
}

void RandomMask::choose_ranked(uint64_t first, std::span<const uint32_t> keys, double density,
                               double epsilon, uint8_t* keep, WorkScratch& scratch) const {
  if (keys.empty()) return;
  const Chances chances(density, epsilon, keys.size());
  RowRanks row(keys, chances, scratch);
  const std::span<uint32_t> words = row.words();
  random_words(prf_, first, words);
  const std::span<const uint32_t> ranks = row.find();
  run(best_isa(), KeepByRank{chances}, static_cast<const uint32_t*>(words.data()), ranks.data(),
      keep, keys.size());
}

}  // namespace hieron
