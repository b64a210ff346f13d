// With what probability mergekit's random sparsifiers keep an element, and what a mask that is
// known in part says of the random stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/shape.h"
#include "hieron/kernels/seed_search.h"
#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {

// Random masks of F16 are worked out in f32, as torch has no Bernoulli of it on a CPU.
DType mask_dtype(DType working);

// dare_linear, dare_ties: of every element.
float dare_probability(double density, DType working);

// della, della_linear: one an element, density − epsilon … density + epsilon by the rank of |d|
// along dimension 1 (a tensor of one dimension is one row) of two elements or more. Rows do not
// depend on one another: the first ones of a tensor, with their own shape, have the probabilities
// that they have in the whole.
Values della_probabilities(std::span<const float> d, const Shape& shape, double density,
                           double epsilon, DType working);

// An element of a difference, by its place in the tensor, that was seen to be kept or dropped.
struct SeenElement {
  uint64_t element;
  bool kept;
};

// The same as observations of the stream, of which the difference draws `first_word` and those
// after it (ReplayTask::first_word, then as many words on as the tensor has elements for each model
// before this one that draws). `probabilities`: one an element, or one for all.
std::vector<MaskObservation> mask_observations(std::span<const SeenElement> seen,
                                               std::span<const float> probabilities,
                                               uint64_t first_word);

}  // namespace hieron::mergekit
