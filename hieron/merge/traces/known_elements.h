// Elements whose states are known, put together as one small tensor: a change that was dropped is
// none there. So the engine that merges can try weights on it before anything is known of the
// masks.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "hieron/merge/method.h"
#include "hieron/merge/traces/state_table.h"

namespace hieron {

// How a merge is computed: by the method itself, or as mergekit does in the suspect's dtype or in
// f32. (Its versions differ in masks alone.)
enum class Working : uint8_t { kExact, kTorch, kTorchInF32 };

class KnownElements {
 public:
  // At most `limit`; more of those in which several changes meet.
  KnownElements(const StateTable& table, size_t limit);

  size_t size() const { return suspect_.size(); }

  // The share that a method reproduces. `parameters`: of the parents in the table's order, none of
  // which drops anything.
  double share(const Method& method, const TensorParameters& parameters, Working working) const;

 private:
  bool add(const StateTable& table, const StateTensor& tensor, size_t element, bool several);
  std::vector<float> made_exactly(const Method& method, const TensorParameters& parameters) const;
  std::vector<float> made_by_torch(std::string_view method, const TensorParameters& parameters,
                                   DType working) const;
  std::vector<float> decoded(DType dtype, std::span<const std::byte> bytes) const;

  DType dtype_;
  std::vector<float> suspect_;
  std::vector<std::vector<float>> inputs_;  // the parents, then the base
};

}  // namespace hieron
