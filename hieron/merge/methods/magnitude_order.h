// The elements of a tensor in the order of their magnitudes: larger first, equal ones by lower
// index. Finds the borders at given positions of this order in at most two passes, without sorting
// and without holding the tensor.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "hieron/merge/method.h"

namespace hieron {

// The key of a magnitude: f32 bits without the sign, so keys compare as the numbers do.
uint32_t magnitude_key(float value);

class MagnitudeOrder {
 public:
  // Borders after the first positions[j] elements, 0 <= positions[j] <= elements.
  MagnitudeOrder(uint64_t elements, const std::vector<uint64_t>& positions);
  // One border, after a share of those elements whose key is not zero (rounded down).
  MagnitudeOrder(uint64_t elements, double share_of_nonzero);

  bool wants_pass() const { return stage_ != Stage::kKnown; }
  // Keys of elements from `first` on: whole leaves of kLeaf elements (the last may be shorter),
  // unless only key_at() is asked for. Thread-safe.
  void look(uint64_t first, std::span<const uint32_t> keys, WorkScratch& scratch);
  void end_pass();

  // flags[i] = 1 where element first + i lies before border j, else 0. Whole leaves, as above.
  void before(size_t j, uint64_t first, std::span<const uint32_t> keys, uint8_t* flags) const;

  // The least key that lies before border j, in leaves where that is for the key alone to say: in
  // all but one. (UINT32_MAX, which no key reaches, if nothing lies before it.)
  std::optional<uint32_t> least_before(size_t j, uint64_t leaf) const;

  // The key at border j: of the last element before it. (A quantile, when that is all one needs.)
  uint32_t key_at(size_t j) const { return borders_[j].key; }

 private:
  // A small tensor is kept whole. A large one is counted: first in bins of the upper half of the
  // keys, then, in the bins where borders lie, key by key in every leaf.
  enum class Stage : uint8_t { kKeep, kBins, kLeaves, kKnown };

  struct Border {
    uint64_t position;
    uint32_t key = 0;     // larger keys lie before, smaller ones after
    uint64_t leaf = 0;    // of equal keys: leaves below this lie before,
    uint64_t within = 0;  // and so many of the equal ones in this leaf
  };
  struct Counted {
    uint64_t leaf;
    uint32_t key, count;
  };

  void place_by_share();
  static bool trivial(const Border& border) { return border.position == 0; }
  void keep(uint64_t first, std::span<const uint32_t> keys);
  void count_bins(std::span<const uint32_t> keys, WorkScratch& scratch);
  std::span<const uint32_t> wanted_keys(std::span<const uint32_t> leaf, WorkScratch& scratch) const;
  void count_leaves(uint64_t first, std::span<const uint32_t> keys, WorkScratch& scratch);
  void settle_kept();
  void choose_bins();
  void settle_counted();

  const uint64_t elements_;
  std::optional<double> share_;  // of the elements that are not zero: the position is not known yet
  std::atomic<uint64_t> zeros_{0};
  Stage stage_;
  std::vector<Border> borders_;
  std::vector<uint32_t> kept_;
  std::vector<uint64_t> bins_;
  std::vector<uint32_t> wanted_;  // the bins in which borders lie, ascending
  std::vector<Counted> counted_;
  std::mutex mutex_;
};

}  // namespace hieron
