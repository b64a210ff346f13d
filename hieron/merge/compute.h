// Blocks of one output tensor, from the blocks of its inputs: what the executor and a merge that
// was never written share.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "hieron/merge/plan.h"

namespace hieron {

// One per thread; grows to what is needed and stays.
struct ComputeScratch {
  std::vector<std::byte> cast;    // operands in the working dtype
  std::vector<std::byte> worked;  // the result as the method returned it
  std::vector<double> wide;
  std::vector<Operand> operands;
  WorkScratch work;
};

// One merged or copied tensor of a plan, under way. The plan outlives it. The passes are as in
// TensorWork; look() and apply() are thread-safe.
class Computation {
 public:
  Computation(const Plan& plan, const PlannedTensor& tensor);

  uint64_t grain() const { return work_ ? work_->grain() : 1; }
  uint64_t held() const { return work_ ? work_->held() : 0; }
  bool wants_pass() const { return work_ && work_->wants_pass(); }
  Status end_pass() { return work_->end_pass(); }

  // `data[k]`: `count` elements of tensor.inputs[k] from element `first`, as stored.
  void look(uint64_t first, size_t count, std::span<const std::byte* const> data,
            ComputeScratch& scratch);
  void apply(uint64_t first, size_t count, std::span<const std::byte* const> data, std::byte* out,
             ComputeScratch& scratch) const;

 private:
  bool needs_cast(size_t input) const;
  bool converts() const;
  std::span<const Operand> operands(std::span<const std::byte* const> data, size_t first,
                                    size_t count, ComputeScratch& scratch) const;
  uint64_t step() const;

  const PlannedTensor& tensor_;
  std::unique_ptr<TensorWork> work_;  // null: a copy, or nothing to do
};

}  // namespace hieron
