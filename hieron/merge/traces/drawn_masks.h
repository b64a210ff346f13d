// The masks of a reading beside random numbers: what each label asks of a stream's words, and, once
// a seed is known, the densities and factors that the words settle. For own_seeds.h and
// torch_seeds.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hieron/kernels/seed_search.h"
#include "hieron/merge/traces/mask_reading.h"

namespace hieron {

// Whose random numbers, and what they are compared with.
struct Drawing {
  bool torch, ranked;
  DType working;  // torch's probabilities are rounded to it
};

// The labels of one parent's mask in one tensor.
struct LabelledMask {
  const StateTensor* tensor;
  size_t parent;
  size_t length = 1;            // of a row
  std::vector<uint32_t> ranks;  // in it, by element; empty: nothing depends on them
  std::vector<uint32_t> known;  // elements

  uint32_t rank(size_t element) const { return ranks.empty() ? 0 : ranks[element]; }
  bool kept(size_t element) const {
    return (tensor->labels[parent][element] & MaskLabel::kKept) != 0;
  }
};

LabelledMask labelled(const StateTensor& tensor, const MaskReading& reading, size_t k,
                      const Drawing& drawing);

// Probabilities by rank in a row of `length`; one, if nothing depends on it.
std::vector<float> chances(const Drawing& drawing, size_t length, double density, double epsilon);

// What these elements' labels ask of the words, the first element's being word 0.
std::vector<MaskObservation> observations(const LabelledMask& labels, const Drawing& drawing,
                                          const ParentMask& mask,
                                          std::span<const uint32_t> elements);

// The most labels that may be wrong if what is left is to be worth so many bits; −1: it never is.
int64_t most_wrong(std::span<const MaskObservation> seen, double bits);

// A mask once the seed is known: numbers in [0, 1), to be held against probabilities.
struct DrawnMask {
  const LabelledMask* labels;
  Drawing drawing;
  std::vector<float> drawn;  // by element

  std::vector<float> by_rank(double density, double epsilon) const {
    return chances(drawing, labels->length, density, epsilon);
  }
  uint64_t wrong(double density, double epsilon) const {
    const std::vector<float> p = by_rank(density, epsilon);
    uint64_t count = 0;
    for (const uint32_t i : labels->known) {
      count += (drawn[i] < p[labels->rank(i)]) != labels->kept(i);
    }
    return count;
  }
};

// Fits density and epsilon of one parent to its drawn masks. Returns how many labels even the best
// contradict.
uint64_t fit_density(std::span<const DrawnMask> masks, ParentMask& mask);

// a_k before the mask's rescaling, over tensors whose masks are drawn.
void fit_product(std::span<const DrawnMask> masks, const MaskReading& reading, size_t k,
                 ParentMask& mask);

// How the labels agree with the masks of a seed that was found.
struct SeedFit {
  uint64_t wrong = 0, labels = 0;

  void add(std::span<const DrawnMask> masks, uint64_t contradicted) {
    wrong += contradicted;
    for (const DrawnMask& mask : masks) labels += mask.labels->known.size();
  }
  double share_wrong() const {
    return labels ? static_cast<double>(wrong) / static_cast<double>(labels) : 0;
  }
};

// The masks as ranked ones: ranks whose slope was too small to be seen, until the seed was known.
// Worth trying where more labels are wrong than kTooManyWrong; right if only kFarFewer of them are
// left.
MaskReading as_ranked(MaskReading reading);
inline constexpr double kTooManyWrong = 0.003, kFarFewer = 0.2;

}  // namespace hieron
