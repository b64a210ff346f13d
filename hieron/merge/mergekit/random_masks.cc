#include "hieron/merge/mergekit/random_masks.h"

#include <algorithm>

#include "hieron/merge/mergekit/torch_random.h"
#include "hieron/merge/mergekit/torch_sort.h"

namespace hieron::mergekit {
namespace {

// A number that torch adds to a tensor is rounded to the dtype first; one that it multiplies by is
// not.
Values by_rank(size_t length, double density, double epsilon, DType dtype) {
  const Rounding r(dtype);
  Values p(length);
  for (size_t rank = 0; rank < length; ++rank) p[rank] = r(r(static_cast<float>(rank)) + 1);
  const float lowest = p.front(), span = r(p.back() - lowest);
  for (float& x : p) {
    const float normed = std::clamp(r(r(x - lowest) / span), 0.0f, 1.0f);
    x = r(r(r(normed * 2) * static_cast<float>(epsilon)) + r(density - epsilon));
  }
  return p;
}

}  // namespace

DType mask_dtype(DType working) { return working == DType::kF16 ? DType::kF32 : working; }

float dare_probability(double density, DType working) {
  return Rounding(mask_dtype(working))(density);
}

Values della_probabilities(std::span<const float> d, const Shape& shape, double density,
                           double epsilon, DType working) {
  const size_t lines = shape.size() < 2 ? 1 : shape[0];
  const size_t length = shape.size() < 2 ? d.size() : shape[1];
  const Values of_rank = by_rank(length, density, epsilon, mask_dtype(working));
  const size_t stride = d.size() / lines / length;
  Values probabilities(d.size());
  std::vector<uint32_t> order(length);
  std::vector<SortEntry> scratch;
  for (size_t line = 0; line < lines; ++line) {
    for (size_t column = 0; column < stride; ++column) {
      const size_t start = line * length * stride + column;
      sorted_indices(d.data() + start, length, stride, order, scratch);
      for (size_t rank = 0; rank < length; ++rank) {
        probabilities[start + order[rank] * stride] = of_rank[rank];
      }
    }
  }
  return probabilities;
}

std::vector<MaskObservation> mask_observations(std::span<const SeenElement> seen,
                                               std::span<const float> probabilities,
                                               uint64_t first_word) {
  std::vector<MaskObservation> observations;
  for (const auto& [element, kept] : seen) {
    const float probability = probabilities.size() == 1 ? probabilities[0] : probabilities[element];
    observations.push_back({.word = first_word + element,
                            .threshold = MersenneStream::threshold(probability),
                            .kept = kept});
  }
  return observations;
}

}  // namespace hieron::mergekit
