// How much of a suspect a replay reproduces.
#pragma once

#include <cstdint>
#include <span>

namespace hieron {

// Elements where suspect or replay differ from one model, and of them those where they are the
// same: what neither changed counts for nothing.
struct TellingCount {
  uint64_t telling = 0, equal = 0;

  double share() const {
    return telling ? static_cast<double>(equal) / static_cast<double>(telling) : 0;
  }
  // All three of one tensor, as the suspect stores it.
  void add(std::span<const float> suspect, std::span<const float> made,
           std::span<const float> origin);
};

}  // namespace hieron
