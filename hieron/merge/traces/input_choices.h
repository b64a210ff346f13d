// Which candidates may have been the inputs, and in which order: for `recover`.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/hypothesis.h"

namespace hieron {

// The candidates that the evidence names as used, without the base; in the order in which they were
// offered.
std::vector<size_t> used_beside(const Evidence& evidence, std::optional<size_t> base);

// The candidates beside the base that a pooled fit gives most weight to, heaviest first, at most
// `limit`: for suspects of which no combination holds.
std::vector<size_t> heaviest_beside(const Evidence& evidence, std::optional<size_t> base,
                                    size_t limit);

// Every subset of `models` that has at least `least`, fewest first.
std::vector<std::vector<size_t>> subsets(std::span<const size_t> models, size_t least);

// Adds the hypothesis; of a suspect in f32, which shows the order of sums in most elements (and if
// `always`), with its inputs in every order if there are at most `most` of them. (Of others the
// order is varied once all else is found: recover/recover.cc.)
void add_orders(const Evidence& evidence, const Hypothesis& hypothesis, size_t most,
                std::vector<Hypothesis>& found, bool always = false);

// A hypothesis whose inputs have no parameters.
Hypothesis plain_hypothesis(std::string_view method, std::span<const size_t> models,
                            std::optional<size_t> base = {});

}  // namespace hieron
