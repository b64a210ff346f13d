#include "hieron/merge/methods/magnitude_order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>

#include "hieron/kernels/isa.h"
#include "hieron/walk/walk.h"

namespace hieron {
namespace {

constexpr uint64_t kSmall = 1 << 16;  // elements that are simply kept
constexpr int kBinShift = 15;         // a key has 31 bits: 65,536 bins
constexpr size_t kBins = size_t{1} << (31 - kBinShift);
// Fewer keys are counted where all are; for more, a table of their own pays.
constexpr size_t kFewKeys = kBins / 4;

// flags[i] = 1 where a key is in the bin, else as it was.
struct FlagBin {
  HIERON_INLINE void operator()(const uint32_t* keys, uint32_t bin, uint8_t* __restrict flags,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) flags[i] |= keys[i] >> kBinShift == bin;
  }
};

uint64_t eight_flags(const uint8_t* flags) {
  uint64_t all;
  std::memcpy(&all, flags, sizeof all);
  return all;
}

// Keys have 31 bits, so that signed comparisons, which all vector units have, do.
struct FlagFrom {
  HIERON_INLINE void operator()(const uint32_t* keys, int32_t least, uint8_t* __restrict flags,
                                size_t n) const {
    for (size_t i = 0; i < n; ++i) flags[i] = static_cast<int32_t>(keys[i]) >= least;
  }
};

// Of equal keys only so many as lie before the border.
void flag_at_border(std::span<const uint32_t> keys, uint32_t border, uint64_t within,
                    uint8_t* flags) {
  uint64_t equal = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    flags[i] = keys[i] > border || (keys[i] == border && equal < within);
    equal += keys[i] == border;
  }
}

}  // namespace

uint32_t magnitude_key(float value) { return std::bit_cast<uint32_t>(value) & 0x7FFFFFFF; }

MagnitudeOrder::MagnitudeOrder(uint64_t elements, const std::vector<uint64_t>& positions)
    : elements_(elements), stage_(elements <= kSmall ? Stage::kKeep : Stage::kBins) {
  bool needed = false;
  for (uint64_t position : positions) {
    needed = needed || position > 0;
    borders_.push_back({.position = position});
  }
  if (!needed) stage_ = Stage::kKnown;
  if (stage_ == Stage::kKeep) kept_.resize(elements);
  if (stage_ == Stage::kBins) bins_.resize(kBins);
}

MagnitudeOrder::MagnitudeOrder(uint64_t elements, double share_of_nonzero)
    : elements_(elements),
      share_(share_of_nonzero),
      stage_(elements <= kSmall ? Stage::kKeep : Stage::kBins),
      borders_(1) {
  if (stage_ == Stage::kKeep) kept_.resize(elements);
  if (stage_ == Stage::kBins) bins_.resize(kBins);
}

void MagnitudeOrder::place_by_share() {
  if (!share_) return;
  const auto nonzero = static_cast<double>(elements_ - zeros_);
  borders_[0].position = static_cast<uint64_t>(*share_ * nonzero);
  share_.reset();
}

void MagnitudeOrder::look(uint64_t first, std::span<const uint32_t> keys, WorkScratch& scratch) {
  if (share_) zeros_ += static_cast<uint64_t>(std::ranges::count(keys, 0u));
  switch (stage_) {
    case Stage::kKeep:
      return keep(first, keys);
    case Stage::kBins:
      return count_bins(keys, scratch);
    case Stage::kLeaves:
      return count_leaves(first, keys, scratch);
    case Stage::kKnown:
      return;
  }
}

void MagnitudeOrder::end_pass() {
  place_by_share();
  switch (stage_) {
    case Stage::kKeep:
      settle_kept();
      break;
    case Stage::kBins:
      choose_bins();
      stage_ = Stage::kLeaves;
      return;
    case Stage::kLeaves:
      settle_counted();
      break;
    case Stage::kKnown:
      break;
  }
  stage_ = Stage::kKnown;
}

void MagnitudeOrder::keep(uint64_t first, std::span<const uint32_t> keys) {
  std::ranges::copy(keys, kept_.begin() + static_cast<ptrdiff_t>(first));
}

void MagnitudeOrder::settle_kept() {
  std::vector<uint32_t> ordered = kept_;
  for (Border& border : borders_) {
    if (trivial(border)) continue;
    const auto last = ordered.begin() + static_cast<ptrdiff_t>(border.position - 1);
    std::nth_element(ordered.begin(), last, ordered.end(), std::greater());
    border.key = *last;
    uint64_t left = border.position - static_cast<uint64_t>(std::ranges::count_if(
                                          ordered, [&](uint32_t k) { return k > border.key; }));
    uint64_t i = 0;
    for (; left > 0; ++i) left -= kept_[i] == border.key;
    border.leaf = i / kLeaf;
    border.within = static_cast<uint64_t>(
        std::count(kept_.begin() + static_cast<ptrdiff_t>(border.leaf * kLeaf),
                   kept_.begin() + static_cast<ptrdiff_t>(i), border.key));
  }
  kept_ = {};
}

void MagnitudeOrder::count_bins(std::span<const uint32_t> keys, WorkScratch& scratch) {
  if (keys.size() <= kFewKeys) {
    const std::lock_guard lock(mutex_);
    for (uint32_t key : keys) ++bins_[key >> kBinShift];
    return;
  }
  scratch.u32.assign(kBins, 0);
  uint32_t* bins = scratch.u32.data();
  for (uint32_t key : keys) ++bins[key >> kBinShift];
  const std::lock_guard lock(mutex_);
  for (size_t b = 0; b < kBins; ++b) bins_[b] += bins[b];
}

void MagnitudeOrder::choose_bins() {
  for (const Border& border : borders_) {
    if (trivial(border)) continue;
    uint64_t above = 0;
    size_t bin = kBins;
    while (above < border.position) above += bins_[--bin];
    wanted_.push_back(static_cast<uint32_t>(bin));
  }
  std::ranges::sort(wanted_);
  const auto repeated = std::ranges::unique(wanted_);
  wanted_.erase(repeated.begin(), repeated.end());
}

// The keys of a leaf that are in wanted bins, ascending.
std::span<const uint32_t> MagnitudeOrder::wanted_keys(std::span<const uint32_t> leaf,
                                                      WorkScratch& scratch) const {
  std::array<uint8_t, kLeaf> flags{};
  for (uint32_t bin : wanted_) {
    run(best_isa(), FlagBin{}, leaf.data(), bin, flags.data(), leaf.size());
  }
  scratch.u32.resize(std::max<size_t>(scratch.u32.size(), kLeaf));
  size_t found = 0;
  for (size_t first = 0; first < leaf.size(); first += sizeof(uint64_t)) {
    if (eight_flags(&flags[first]) == 0) continue;
    for (size_t i = first; i < std::min(first + sizeof(uint64_t), leaf.size()); ++i) {
      scratch.u32[found] = leaf[i];
      found += flags[i];
    }
  }
  std::sort(scratch.u32.begin(), scratch.u32.begin() + static_cast<ptrdiff_t>(found));
  return std::span(scratch.u32).first(found);
}

void MagnitudeOrder::count_leaves(uint64_t first, std::span<const uint32_t> keys,
                                  WorkScratch& scratch) {
  std::vector<Counted> found;
  for (size_t at = 0; at < keys.size(); at += kLeaf) {
    const uint64_t number = (first + at) / kLeaf;
    const auto leaf = keys.subspan(at, std::min<size_t>(kLeaf, keys.size() - at));
    for (uint32_t key : wanted_keys(leaf, scratch)) {
      if (found.empty() || found.back().leaf != number || found.back().key != key) {
        found.push_back({number, key, 0});
      }
      ++found.back().count;
    }
  }
  const std::lock_guard lock(mutex_);
  counted_.insert(counted_.end(), found.begin(), found.end());
}

void MagnitudeOrder::settle_counted() {
  std::ranges::sort(counted_, [](const Counted& a, const Counted& b) {
    return a.key != b.key ? a.key > b.key : a.leaf < b.leaf;
  });
  for (Border& border : borders_) {
    if (trivial(border)) continue;
    // Everything in higher bins comes first; those of the border's own bin follow key by key.
    uint64_t before = 0;
    size_t bin = kBins;
    while (before + bins_[bin - 1] < border.position) before += bins_[--bin];
    --bin;
    auto at =
        std::ranges::find_if(counted_, [&](const Counted& c) { return c.key >> kBinShift == bin; });
    while (before + at->count < border.position) before += (at++)->count;
    border.key = at->key;
    border.leaf = at->leaf;
    border.within = border.position - before;
  }
  counted_ = {};
  bins_ = {};
  wanted_ = {};
}

std::optional<uint32_t> MagnitudeOrder::least_before(size_t j, uint64_t leaf) const {
  const Border& border = borders_[j];
  if (trivial(border)) return UINT32_MAX;
  if (leaf == border.leaf) return std::nullopt;
  return border.key + (leaf < border.leaf ? 0 : 1);
}

void MagnitudeOrder::before(size_t j, uint64_t first, std::span<const uint32_t> keys,
                            uint8_t* flags) const {
  const Border& border = borders_[j];
  for (size_t at = 0; at < keys.size(); at += kLeaf) {
    const auto leaf = keys.subspan(at, std::min<size_t>(kLeaf, keys.size() - at));
    const auto least = least_before(j, (first + at) / kLeaf);
    if (!least) {
      flag_at_border(leaf, border.key, border.within, flags + at);
    } else if (*least > INT32_MAX) {
      std::fill_n(flags + at, leaf.size(), uint8_t{0});
    } else {
      run(best_isa(), FlagFrom{}, leaf.data(), static_cast<int32_t>(*least), flags + at,
          leaf.size());
    }
  }
}

}  // namespace hieron
