#include "hieron/merge/evidence.h"

namespace hieron {

std::vector<size_t> Evidence::possible_bases() const {
  return base ? std::vector<size_t>{*base} : candidates;
}

}  // namespace hieron
