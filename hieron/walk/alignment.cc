#include "hieron/walk/alignment.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "hieron/walk/canonical.h"

namespace hieron {
namespace {

struct Counterpart {
  const TensorInfo* tensor = nullptr;  // null: the model has none
  uint64_t first = 0;
  Shape shape;
};

class Aligner {
 public:
  Aligner(std::span<const Checkpoint* const> models, size_t required)
      : models_(models), required_(required), indexes_(models.size()), taken_(models.size()) {
    alignment_.models.assign(models.begin(), models.end());
  }

  Alignment run() && {
    alignment_.rows.reserve(leading().tensors.size());
    for (const TensorInfo& tensor : leading().tensors) {
      if (tensor.elements == 0) {
        alignment_.ledger.push_back({0, tensor.name, "it has no elements"});
      } else if (!add_parts(tensor)) {
        add({tensor.name, &tensor, 0, tensor.elements, tensor.shape});
      }
    }
    for (size_t m = 1; m < models_.size(); ++m) note_left_over(m);
    return std::move(alignment_);
  }

 private:
  const Checkpoint& leading() const { return *models_[0]; }

  // Built when a name is missing for the first time: mostly never.
  const LogicalIndex& index(size_t m) {
    if (!indexes_[m]) indexes_[m] = std::make_unique<LogicalIndex>(*models_[m]);
    return *indexes_[m];
  }

  // What the leading tensor is called canonically; its own name where that would clash.
  std::string canonical(const TensorInfo& tensor) {
    std::string name = canonical_name(tensor.name);
    const LogicalTensor* known = index(0).find(name);
    return known && known->tensor == &tensor ? name : tensor.name;
  }

  // In model `m` by canonical name, unless that tensor belongs to another leading one by its name.
  const LogicalTensor* by_canonical(size_t m, const std::string& name) {
    const LogicalTensor* found = index(m).find(name);
    return found && !leading().find(found->tensor->name) ? found : nullptr;
  }

  // A fused tensor is taken apart where a model has no such tensor, but has its parts.
  bool add_parts(const TensorInfo& tensor) {
    std::vector<LogicalTensor> parts;
    for (size_t m = 1; m < models_.size(); ++m) {
      if (models_[m]->find(tensor.name)) continue;
      if (by_canonical(m, canonical(tensor))) continue;  // fused there too, under another prefix
      if (parts.empty()) parts = parts_of(leading(), tensor);
      const bool has_some = std::ranges::any_of(
          parts, [&](const LogicalTensor& part) { return by_canonical(m, part.name); });
      if (!has_some) continue;
      for (const LogicalTensor& part : parts) add(part);
      return true;
    }
    return false;
  }

  Counterpart counterpart(size_t m, const LogicalTensor& wanted) {
    const TensorInfo* same = models_[m]->find(wanted.tensor->name);
    if (same && !wanted.part) return {same, 0, same->shape};
    if (same) {  // fused alike: the same stretch
      if (same->shape != wanted.tensor->shape) return {same, 0, same->shape};
      return {same, wanted.first, wanted.shape};
    }
    const LogicalTensor* found =
        by_canonical(m, wanted.part ? wanted.name : canonical(*wanted.tensor));
    if (!found) return {};
    taken_[m][found->tensor] += found->elements;
    return {found->tensor, found->first, found->shape};
  }

  void add(const LogicalTensor& leading) {
    Row row{leading.part ? part_name(leading) : leading.name, leading.shape, leading.elements, {}};
    row.views.resize(models_.size());
    row.views[0] = TensorView{leading.tensor, leading.first};
    std::string reason;
    for (size_t m = 1; m < models_.size(); ++m) {
      const Counterpart other = counterpart(m, leading);
      if (other.tensor && other.shape == leading.shape) {
        row.views[m] = TensorView{other.tensor, other.first};
      } else if (m < required_) {
        if (reason.empty()) reason = missing_reason(other, leading, *models_[m]);
      } else {
        alignment_.ledger.push_back(
            {static_cast<uint32_t>(m), row.name, missing_reason(other, leading, *models_[m])});
      }
    }
    if (reason.empty()) {
      alignment_.rows.push_back(std::move(row));
    } else {
      alignment_.ledger.push_back({0, row.name, reason});
    }
  }

  static std::string missing_reason(const Counterpart& other, const LogicalTensor& leading,
                                    const Checkpoint& model) {
    if (!other.tensor) return fmt::format("{} has no tensor of this name", model.ref);
    return fmt::format("its shape is {} here and {} in {}", to_string(leading.shape),
                       to_string(other.shape), model.ref);
  }

  void note_left_over(size_t m) {
    for (const TensorInfo& tensor : models_[m]->tensors) {
      if (leading().find(tensor.name)) continue;
      const auto taken = taken_[m].find(&tensor);
      if (taken != taken_[m].end() && taken->second >= tensor.elements) continue;
      const std::string what =
          taken == taken_[m].end()
              ? std::string("no tensor of this name")
              : fmt::format("only {} of its {} elements", taken->second, tensor.elements);
      alignment_.ledger.push_back(
          {static_cast<uint32_t>(m), tensor.name, fmt::format("{} has {}", leading().ref, what)});
    }
  }

  const std::span<const Checkpoint* const> models_;
  const size_t required_;
  Alignment alignment_;
  std::vector<std::unique_ptr<LogicalIndex>> indexes_;
  // Per model: elements that rows take out of tensors of other names.
  std::vector<std::unordered_map<const TensorInfo*, uint64_t>> taken_;
};

}  // namespace

Alignment align(std::span<const Checkpoint* const> models, size_t required) {
  return Aligner(models, required).run();
}

std::vector<std::string> refs_of(const Alignment& alignment) {
  std::vector<std::string> refs;
  for (const Checkpoint* model : alignment.models) refs.push_back(model->ref);
  return refs;
}

}  // namespace hieron
