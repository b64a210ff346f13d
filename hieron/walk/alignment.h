// Lining up the tensors that belong together, and keeping account of those that do not.
//
// The first checkpoint leads: a row for each of its tensors (for each part of a fused one, where
// another model needs that), in file order. Another model takes part in a row if it has a tensor
// of that name (else of that canonical name: canonical.h) and shape; its dtype may differ.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

// A contiguous stretch of one tensor of one model; an expert of a fused tensor, a layer moved by a
// stack. Strided, transposed and permuted views come when a scheme needs them; visitors do not
// change then.
struct TensorView {
  const TensorInfo* tensor = nullptr;
  uint64_t first = 0;  // element
};

struct Row {
  std::string name;  // in the leading checkpoint
  Shape shape;
  uint64_t elements;
  std::vector<std::optional<TensorView>> views;  // one per model; views[0] is always there
  uint64_t grain = 1;  // borders of blocks inside the row are multiples of it
};

struct Skipped {
  uint32_t model;  // index into the models given to align()
  std::string tensor;
  std::string reason;
};

struct Alignment {
  std::vector<const Checkpoint*> models;
  std::vector<Row> rows;
  std::vector<Skipped>
      ledger;  // every tensor of every model that is in no row, or in a row but unusable there
};

// How the models are named, by number.
std::vector<std::string> refs_of(const Alignment& alignment);

// `required`: how many of the first models must take part for a row to exist (the others are
// optional in it); a leading tensor without them goes to the ledger with the reason.
Alignment align(std::span<const Checkpoint* const> models, size_t required);

}  // namespace hieron
