#include "hieron/merge/walk_rows.h"

#include <limits>

namespace hieron {

WalkRows walk_rows(const Plan& plan, uint32_t first, uint32_t count) {
  constexpr uint32_t kUnused = std::numeric_limits<uint32_t>::max();
  WalkRows out;
  std::vector<uint32_t> column(plan.slots.size(), kUnused);
  for (uint32_t i = first; i < first + count; ++i) {
    for (const PlannedInput& input : plan.tensors[i].inputs) {
      if (column[input.slot] != kUnused) continue;
      column[input.slot] = static_cast<uint32_t>(out.models.size());
      out.models.push_back(plan.models[plan.slots[input.slot]].checkpoint.get());
    }
  }
  for (uint32_t i = first; i < first + count; ++i) {
    const PlannedTensor& tensor = plan.tensors[i];
    Row row{tensor.name, tensor.shape(), tensor.elements, {}};
    row.views.resize(out.models.size());
    std::vector<uint32_t> inputs;
    for (const PlannedInput& input : tensor.inputs) {
      row.views[column[input.slot]] = TensorView{input.tensor, 0};
      inputs.push_back(column[input.slot]);
    }
    out.rows.push_back(std::move(row));
    out.input_models.push_back(std::move(inputs));
  }
  return out;
}

}  // namespace hieron
