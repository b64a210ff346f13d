// The sample that estimates are made from: the same elements of every model, decoded once, held in
// memory. Estimates come from here; proofs are made on every element (assay/proof.h).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/roles.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct SampleRow {
  size_t row;  // into the alignment's rows
  std::vector<Run> runs;
  uint64_t count = 0;  // elements
  TensorRole role;
  bool blend = false;  // every model that takes part stores weights here, not codes or counters
  std::vector<DType> dtypes;                // per model: the true dtype, after undoing a widening
  std::vector<std::vector<double>> values;  // per model; empty if the model is not in this row
};

struct Sample {
  std::vector<SampleRow> rows;
};

// Total elements a fit holds in memory per model, and the most rows it looks at; beyond that rows
// are drawn by the seed, every (role, layer) in turn.
inline constexpr uint64_t kFitElements = 1u << 19;
inline constexpr size_t kFitRows = 1024;

// Of a selection of everything: one whose sample stays within kFitElements for this many rows (a
// lone small tensor is read whole). Of a sample: so much of each of its runs, nothing else.
Selection fit_selection(const Seed& seed, const Alignment& alignment, const Selection& selection);

// About `elements` of them, the same share of every row (its first ones, at least kLeastRow): for
// checks that need fewer than the fit.
inline constexpr uint64_t kLeastRow = 512;
Sample thinned(const Sample& sample, uint64_t elements);

Result<Sample> draw_sample(const Alignment& alignment, const RoleTable& roles, const Seed& seed,
                           const Selection& selection, const WalkOptions& options);

}  // namespace hieron
