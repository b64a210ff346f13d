#include "hieron/merge/methods/leaf_sums.h"

namespace hieron {

LeafSums::LeafSums(uint64_t elements, uint64_t leaf, size_t size)
    : leaf_(leaf), size_(size), figures_((elements + leaf - 1) / leaf * size) {}

std::vector<double> LeafSums::total() const {
  std::vector<double> sums(figures_.begin(), figures_.end());
  sums.resize(std::max(sums.size(), size_));
  for (size_t n = figures_.size() / std::max<size_t>(size_, 1); n > 1; n = (n + 1) / 2) {
    for (size_t i = 0; i < n / 2; ++i) {
      for (size_t j = 0; j < size_; ++j) {
        sums[i * size_ + j] = sums[2 * i * size_ + j] + sums[(2 * i + 1) * size_ + j];
      }
    }
    if (n % 2 == 1) {
      for (size_t j = 0; j < size_; ++j) sums[n / 2 * size_ + j] = sums[(n - 1) * size_ + j];
    }
  }
  sums.resize(size_);
  return sums;
}

}  // namespace hieron
