// A model as an alignment sees it: under the leading model's names, taken apart where the leading
// one is. For what looks tensors up by name in every model (recipes that are replayed).
#pragma once

#include <memory>

#include "hieron/core/error.h"
#include "hieron/walk/alignment.h"

namespace hieron {

// A contiguous part of a tensor as a tensor of its own; no data is read.
TensorInfo part_of(const TensorInfo& tensor, uint64_t first, std::string name, Shape shape);

// Does every row hold whole tensors of its own name?
bool conforms(const Alignment& alignment);

// Model `m` of the alignment, `model` itself if its rows hold whole tensors of their names.
// Tensors in no row keep their names, unless a row has that name.
Result<std::shared_ptr<const Checkpoint>> conformed(const Alignment& alignment, size_t m,
                                                    const std::shared_ptr<const Checkpoint>& model);

}  // namespace hieron
