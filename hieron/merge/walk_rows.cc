#include "hieron/merge/walk_rows.h"

namespace hieron {
namespace {

// The column of a model that has this tensor in the row, or none yet.
uint32_t column_of(const PlannedInput& input, const Checkpoint* model,
                   std::vector<const Checkpoint*>& models, Row& row) {
  for (uint32_t c = 0; c < models.size(); ++c) {
    if (models[c] != model) continue;
    if (c >= row.views.size() || !row.views[c] || row.views[c]->tensor == input.tensor) return c;
  }
  models.push_back(model);
  return static_cast<uint32_t>(models.size() - 1);
}

}  // namespace

WalkRows walk_rows(std::span<const Plan* const> plans, uint32_t first, uint32_t count) {
  WalkRows out;
  out.columns.resize(plans.size());
  for (uint32_t i = first; i < first + count; ++i) {
    const PlannedTensor& lead = plans.front()->tensors[i];
    Row row{lead.name, lead.shape(), lead.elements, {}};
    for (size_t p = 0; p < plans.size(); ++p) {
      const Plan& plan = *plans[p];
      std::vector<uint32_t> columns;
      for (const PlannedInput& input : plan.tensors[i].inputs) {
        const Checkpoint* model = plan.models[plan.slots[input.slot]].checkpoint.get();
        const uint32_t column = column_of(input, model, out.models, row);
        if (row.views.size() <= column) row.views.resize(column + 1);
        row.views[column] = TensorView{input.tensor, 0};
        columns.push_back(column);
      }
      out.columns[p].push_back(std::move(columns));
    }
    out.rows.push_back(std::move(row));
  }
  for (Row& row : out.rows) row.views.resize(out.models.size());
  return out;
}

}  // namespace hieron
