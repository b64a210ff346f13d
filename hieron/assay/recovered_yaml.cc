
#include "hieron/assay/recovered_yaml.h"
#include <fmt/format.h>
#include <algorithm>
#include <set>
#include "hieron/merge/dtype_names.h"
#include "hieron/merge/hypothesis.h"

namespace hieron {
namespace {

// The recipe's dtype when all of the suspect's tensors have one that mergekit can name; otherwise
// each tensor keeps its own.
std::string dtype_of_all(const Alignment& alignment) {
  std::set<DType> found;
  for (const Row& row : alignment.rows) found.insert(row.views[0]->tensor->dtype);
  return written_name(found);
}

double effective(const Combination& combination, size_t k) {
  double sum = 0;
  for (const double w : combination.weights) sum += w;
  return combination.normalize ? combination.weights[k] / sum : combination.weights[k];
}

}  // namespace

FoundRecipe recovered_recipe(const Alignment& alignment, const RoleTable& roles,
                             const CandidateRecipe& recipe, const GroupedFit& grouped,
                             std::string_view experts) {
  const std::vector<size_t> ends{recipe.ends.first, recipe.ends.second};
  FoundRecipe found;
  found.method = "linear";
  found.arithmetic = std::string(info(recipe.arithmetic).name);
  found.arithmetics = recipe.shares;
  found.varies = std::string(name(recipe.varies));
  const Combination& first = recipe.groups.begin()->second;
  found.normalize = first.normalize;
  Hypothesis hypothesis{.method = "linear", .inputs = {}};
  for (size_t k = 0; k < ends.size(); ++k) {
    RecipeModel model{.ref = alignment.models[ends[k]]->ref};
    ParameterValue written(first.weights[k]);
    if (recipe.varies == Varies::kGlobal) {
      model.weight = first.weights[k];
      model.effective = effective(first, k);
      if (const auto peak = grouped.groups.find(""); peak != grouped.groups.end()) {
        const Depth& d = peak->second;
        const double low = k == 0 ? d.low : 1 - d.high, high = k == 0 ? d.high : 1 - d.low;
        // Bounds are hard only where one rounding explains everything; elsewhere they bound the
        // peak, not the weight.
        if (d.share() >= threshold::kExactDepth.value && low <= *model.effective &&
            *model.effective <= high) {
          model.low = low;
          model.high = high;
        }
      }
    } else {
      for (const Row& row : alignment.rows) {
        const TensorRole role = roles.classify(row.name, row.shape);
        const auto group = recipe.groups.find(group_key(row.name, role, recipe.varies));
        if (group != recipe.groups.end()) {
          written.by_tensor.emplace_back(row.name, group->second.weights[k]);
        }
      }
    }
    found.models.push_back(model);
    hypothesis.inputs.push_back({ends[k], {{"weight", std::move(written)}}});
  }
  hypothesis.parameters = {{"normalize", found.normalize ? 1.0 : 0.0}};
  const Rendering rendering{found.arithmetic, dtype_of_all(alignment), {}, std::string(experts)};
  const std::vector<std::string> refs = refs_of(alignment);
  found.yaml = recipe_yaml(hypothesis, refs, rendering);
  if (recipe.varies == Varies::kGlobal && found.normalize) {
    // Normalised weights may share any power of two without a bit changing.
    for (HypothesisInput& input : hypothesis.inputs) {
      input.parameters.at("weight").otherwise *= 2;
    }
    found.equivalent.push_back(recipe_yaml(hypothesis, refs, rendering));
  }
  return found;
}

FoundRecipe exchanged_recipe(const Alignment& alignment, const RoleTable& roles,
                             const std::vector<std::optional<size_t>>& origin,
                             std::string_view experts) {
  FoundRecipe found;
  found.method = "passthrough";
  found.arithmetic = "exact";
  std::set<size_t> used;
  std::map<std::optional<int>, std::set<size_t>> by_layer;
  for (size_t i = 0; i < origin.size(); ++i) {
    if (!origin[i]) continue;
    used.insert(*origin[i]);
    const Row& row = alignment.rows[i];
    by_layer[roles.classify(row.name, row.shape).layer].insert(*origin[i]);
  }
  const bool layerwise =
      std::ranges::all_of(by_layer, [](const auto& layer) { return layer.second.size() == 1; });
  found.varies = layerwise ? "layer" : "tensor";
  Hypothesis hypothesis{.method = "linear", .inputs = {}, .parameters = {{"normalize", 0.0}}};
  for (const size_t model : used) {
    ParameterValue weight(0.0);
    for (size_t i = 0; i < origin.size(); ++i) {
      if (origin[i])
        weight.by_tensor.emplace_back(alignment.rows[i].name, origin[i] == model ? 1 : 0);
    }
    found.models.push_back({.ref = alignment.models[model]->ref});
    hypothesis.inputs.push_back({model, {{"weight", std::move(weight)}}});
  }
  found.arithmetics = {{"exact", 1.0}};
  found.yaml = recipe_yaml(hypothesis, refs_of(alignment),
                           {"exact", dtype_of_all(alignment), {}, std::string(experts)});
  return found;
}

}  // namespace hieron
