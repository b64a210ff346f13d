#include "hieron/walk/conformed.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>

namespace hieron {
namespace {

// A range of a tensor that is worked out on demand.
class Range final : public ComputedTensor {
 public:
  Range(std::shared_ptr<const ComputedTensor> whole, uint64_t first)
      : whole_(std::move(whole)), first_(first) {}
  Status read(uint64_t first, std::span<std::byte> out) const override {
    return whole_->read(first_ + first, out);
  }

 private:
  std::shared_ptr<const ComputedTensor> whole_;
  uint64_t first_;
};

bool conforms_in(const Row& row, size_t m) {
  if (!row.views[m]) return true;
  const TensorInfo& tensor = *row.views[m]->tensor;
  return tensor.elements == row.elements && tensor.name == row.name;
}

}  // namespace

TensorInfo part_of(const TensorInfo& tensor, uint64_t first, std::string name, Shape shape) {
  TensorInfo part = tensor;
  part.name = std::move(name);
  part.elements = element_count(shape).value_or(0);
  part.shape = std::move(shape);
  part.stored.offset += first * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  if (tensor.computed && first > 0) {
    part.computed = std::make_shared<const Range>(tensor.computed, first);
  }
  return part;
}

bool conforms(const Alignment& alignment) {
  return std::ranges::all_of(alignment.rows, [](const Row& row) {
    for (size_t m = 0; m < row.views.size(); ++m) {
      if (!conforms_in(row, m)) return false;
    }
    return true;
  });
}

Result<std::shared_ptr<const Checkpoint>> conformed(
    const Alignment& alignment, size_t m, const std::shared_ptr<const Checkpoint>& model) {
  if (std::ranges::all_of(alignment.rows, [&](const Row& row) { return conforms_in(row, m); })) {
    return model;
  }
  auto out = std::make_shared<Checkpoint>(*model);
  out->tensors.clear();
  std::set<const TensorInfo*> used;
  std::set<std::string_view> names;
  for (const Row& row : alignment.rows) {
    if (!row.views[m]) continue;
    const TensorView& view = *row.views[m];
    used.insert(view.tensor);
    names.insert(row.name);
    out->tensors.push_back(part_of(*view.tensor, view.first, row.name, row.shape));
  }
  for (const TensorInfo& tensor : model->tensors) {
    if (!used.contains(&tensor) && !names.contains(tensor.name)) out->tensors.push_back(tensor);
  }
  std::ranges::stable_sort(out->tensors, {}, [](const TensorInfo& tensor) {
    return std::tuple(tensor.stored.file, tensor.stored.offset);
  });
  HIERON_CHECK(out->index());
  return out;
}

}  // namespace hieron
