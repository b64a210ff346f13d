#include "hieron/assay/stacked.h"

#include <set>

#include "hieron/merge/computed.h"
#include "hieron/merge/dtype_names.h"
#include "hieron/recover/plan_recipe.h"
#include "hieron/recover/stack.h"

namespace hieron {
namespace {

FoundRecipe describe(const LayerStack& stack, const std::vector<std::string>& refs,
                     const std::string& dtype) {
  FoundRecipe found;
  found.method = "passthrough";
  found.arithmetic = "exact";
  found.arithmetics = {{"exact", 1.0}};
  found.normalize = false;
  found.varies = "layer";
  std::set<size_t> models;
  for (const StackedLayer& layer : stack.layers) {
    if (models.insert(layer.model).second) found.models.push_back({.ref = refs[layer.model]});
    std::optional<double> scale;
    if (layer.scales.size() == 1) scale = layer.scales.front().second;
    found.layers.push_back({refs[layer.model], layer.layer, scale});
  }
  found.yaml = stack_yaml(stack, refs, dtype);
  return found;
}

}  // namespace

Result<std::optional<StackedFinding>> find_stacked(const Candidates& given,
                                                   const Selection& selection) {
  HIERON_TRY(const std::optional<LayerStack> stack, find_stack(given));
  if (!stack) return std::nullopt;
  const Checkpoint& suspect = *given.alignment.models[0];
  std::set<DType> dtypes;
  for (const TensorInfo& tensor : suspect.tensors) dtypes.insert(tensor.dtype);
  const std::string dtype = written_name(dtypes);
  const auto names = model_names(given.models.size());
  const auto plan = plan_recipe(stack_yaml(*stack, names, dtype), names, given.models);
  if (!plan) return std::nullopt;
  const auto made = computed_checkpoint(*plan);
  if (!made) return std::nullopt;
  HIERON_TRY(Comparison whole, replay(**made, suspect, given.walk, selection));
  if (whole.total.elements == 0 || whole.total.share < threshold::kReplayShare.value) {
    return std::nullopt;
  }
  return StackedFinding{describe(*stack, refs_of(given.alignment), dtype), std::move(whole),
                        stack->has_direction};
}

}  // namespace hieron
