// One block of one output tensor, from the blocks of its inputs: what the executor and a merge that
// was never written share.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hieron/merge/plan.h"

namespace hieron {

// One per thread; grows to what is needed and stays.
struct ComputeScratch {
  std::vector<std::byte> cast;    // operands in the working dtype
  std::vector<std::byte> worked;  // the result in the working dtype
  std::vector<double> wide;
  std::vector<Operand> operands;
  BlendScratch blend;
};

// `data[k]`: `count` elements of tensor.inputs[k] as stored. `statistics`: as total_statistics()
// gives them.
void compute(const Method& method, const PlannedTensor& tensor, std::span<const double> statistics,
             std::span<const std::byte* const> data, size_t count, std::byte* out,
             ComputeScratch& scratch);

// The statistics of whole leaves (kLeaf elements each; the last may be shorter), one after another
// into `leaves`.
void leaf_statistics(const Method& method, const PlannedTensor& tensor,
                     std::span<const std::byte* const> data, size_t count, std::span<double> leaves,
                     ComputeScratch& scratch);

// Doubles that one leaf of this tensor contributes; 0: no first pass is needed.
size_t statistics_size(const Method& method, const PlannedTensor& tensor);

// Adds the leaves of one tensor in a fixed binary tree: the same sum for any block size and any
// threads.
std::vector<double> total_statistics(std::span<const double> leaves, size_t size);

}  // namespace hieron
