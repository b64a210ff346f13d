#include "hieron/walk/alignment.h"

#include <fmt/format.h>

namespace hieron {
namespace {

std::string missing_reason(const TensorInfo* other, const TensorInfo& leading,
                           const Checkpoint& model) {
  if (!other) return fmt::format("{} has no tensor of this name", model.ref);
  return fmt::format("its shape is {} here and {} in {}", to_string(leading.shape),
                     to_string(other->shape), model.ref);
}

}  // namespace

Alignment align(std::span<const Checkpoint* const> models, size_t required) {
  Alignment alignment{.models = {models.begin(), models.end()}, .rows = {}, .ledger = {}};
  const Checkpoint& leading = *models[0];
  alignment.rows.reserve(leading.tensors.size());
  for (const TensorInfo& tensor : leading.tensors) {
    if (tensor.elements == 0) {
      alignment.ledger.push_back({0, tensor.name, "it has no elements"});
      continue;
    }
    Row row{tensor.name, tensor.shape, tensor.elements, {}};
    row.views.resize(models.size());
    row.views[0] = TensorView{&tensor, 0};
    std::string reason;
    for (size_t m = 1; m < models.size(); ++m) {
      const TensorInfo* other = models[m]->find(tensor.name);
      if (other && other->shape == tensor.shape) {
        row.views[m] = TensorView{other, 0};
      } else if (m < required) {
        if (reason.empty()) reason = missing_reason(other, tensor, *models[m]);
      } else {
        alignment.ledger.push_back(
            {static_cast<uint32_t>(m), tensor.name, missing_reason(other, tensor, *models[m])});
      }
    }
    if (reason.empty()) {
      alignment.rows.push_back(std::move(row));
    } else {
      alignment.ledger.push_back({0, tensor.name, reason});
    }
  }
  for (size_t m = 1; m < models.size(); ++m) {
    for (const TensorInfo& tensor : models[m]->tensors) {
      if (leading.find(tensor.name)) continue;
      alignment.ledger.push_back({static_cast<uint32_t>(m), tensor.name,
                                  fmt::format("{} has no tensor of this name", leading.ref)});
    }
  }
  return alignment;
}

std::vector<std::string> refs_of(const Alignment& alignment) {
  std::vector<std::string> refs;
  for (const Checkpoint* model : alignment.models) refs.push_back(model->ref);
  return refs;
}

}  // namespace hieron
