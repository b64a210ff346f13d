// Which elements a random mask keeps: a pure function of (seed, tensor, input, element), the same
// for any cut, thread or order of work.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "hieron/core/prf.h"
#include "hieron/merge/method.h"

namespace hieron {

class RandomMask {
 public:
  // `input`: the number of the model in the recipe's order.
  RandomMask(uint64_t seed, std::string_view tensor, size_t input);

  // keep[i] = 1 with probability `density`, for element first + i.
  void choose(uint64_t first, double density, std::span<uint8_t> keep, WorkScratch& scratch) const;

  // One row: with a probability that grows linearly from density − epsilon for the smallest key to
  // density + epsilon for the largest; of equal keys the lower index counts as larger.
  void choose_ranked(uint64_t first, std::span<const uint32_t> keys, double density, double epsilon,
                     uint8_t* keep, WorkScratch& scratch) const;

  // The random words that decide, from element `first` on: kept are those below probability·2^32.
  void words(uint64_t first, std::span<uint32_t> out) const;

 private:
  Prf prf_;
};

}  // namespace hieron
