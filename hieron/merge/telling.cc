#include "hieron/merge/telling.h"

#include <bit>

namespace hieron {

void TellingCount::add(std::span<const float> suspect, std::span<const float> made,
                       std::span<const float> origin) {
  uint64_t telling_here = 0, equal_here = 0;
  for (size_t i = 0; i < suspect.size(); ++i) {
    const auto s = std::bit_cast<uint32_t>(suspect[i]), m = std::bit_cast<uint32_t>(made[i]);
    const bool tells = s != m || s != std::bit_cast<uint32_t>(origin[i]);
    telling_here += tells;
    equal_here += tells && s == m;
  }
  telling += telling_here;
  equal += equal_here;
}

}  // namespace hieron
