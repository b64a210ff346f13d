
#include "hieron/assay/recovered_yaml.h"
#include <fmt/format.h>
#include <algorithm>
#include <set>
#include "hieron/core/text.h"
#include "hieron/merge/dtype_names.h"

namespace hieron {
namespace {

// A YAML double-quoted scalar: names and paths come from files.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string decimal(double value) { return shortest(value); }

struct YamlModel {
  std::string ref;
  // Weight by tensor name (whole names as filters), or one weight for all.
  std::vector<std::pair<std::string, double>> by_tensor;
  double otherwise = 0;
};

std::string to_yaml(const std::vector<YamlModel>& models, bool normalize, std::string_view dtype,
                    std::string_view arithmetic) {
  std::string text = "merge_method: linear\nmodels:\n";
  for (const YamlModel& model : models) {
    text += fmt::format("  - model: {}\n    parameters:\n", quoted(model.ref));
    if (model.by_tensor.empty()) {
      text += fmt::format("      weight: {}\n", decimal(model.otherwise));
      continue;
    }
    text += "      weight:\n";
    for (const auto& [tensor, weight] : model.by_tensor) {
      text += fmt::format("        - {{filter: {}, value: {}}}\n", quoted(tensor), decimal(weight));
    }
    text += fmt::format("        - value: {}\n", decimal(model.otherwise));
  }
  text += fmt::format("parameters:\n  normalize: {}\n", normalize ? "true" : "false");
  if (!dtype.empty()) text += fmt::format("dtype: {}\n", dtype);
  text += fmt::format("hieron:\n  arithmetic: {}\n", arithmetic);
  return text;
}

// The recipe's dtype when all of the suspect's tensors have one that mergekit can name; otherwise
// each tensor keeps its own.
std::string common_dtype(const Alignment& alignment) {
  std::set<DType> found;
  for (const Row& row : alignment.rows) {
    if (info(row.views[0]->tensor->dtype).format) found.insert(row.views[0]->tensor->dtype);
  }
  if (found.size() != 1) return {};
  const std::string_view name = torch_name(*found.begin());
  return written_dtype(name) ? std::string(name) : std::string();
}

double effective(const Combination& combination, size_t k) {
  double sum = 0;
  for (const double w : combination.weights) sum += w;
  return combination.normalize ? combination.weights[k] / sum : combination.weights[k];
}

}  // namespace

FoundRecipe recovered_recipe(const Alignment& alignment, const RoleTable& roles,
                             const CandidateRecipe& recipe, const GroupedFit& grouped) {
  const std::vector<size_t> ends{recipe.ends.first, recipe.ends.second};
  FoundRecipe found;
  found.method = "linear";
  found.arithmetic = std::string(info(recipe.arithmetic).name);
  found.arithmetics = recipe.shares;
  found.varies = std::string(name(recipe.varies));
  const Combination& first = recipe.groups.begin()->second;
  found.normalize = first.normalize;
  std::vector<YamlModel> yaml;
  for (size_t k = 0; k < ends.size(); ++k) {
    const std::string& ref = alignment.models[ends[k]]->ref;
    RecipeModel model{.ref = ref};
    YamlModel written{.ref = ref, .by_tensor = {}, .otherwise = first.weights[k]};
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
    yaml.push_back(std::move(written));
  }
  const std::string dtype = common_dtype(alignment);
  found.yaml = to_yaml(yaml, found.normalize, dtype, found.arithmetic);
  if (recipe.varies == Varies::kGlobal && found.normalize) {
    // Normalised weights may share any power of two without a bit changing.
    for (YamlModel& model : yaml) model.otherwise *= 2;
    found.equivalent.push_back(to_yaml(yaml, true, dtype, found.arithmetic));
  }
  return found;
}

FoundRecipe exchanged_recipe(const Alignment& alignment, const RoleTable& roles,
                             const std::vector<std::optional<size_t>>& origin) {
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
  std::vector<YamlModel> yaml;
  for (const size_t model : used) {
    YamlModel written{.ref = alignment.models[model]->ref, .by_tensor = {}, .otherwise = 0};
    for (size_t i = 0; i < origin.size(); ++i) {
      if (origin[i])
        written.by_tensor.emplace_back(alignment.rows[i].name, origin[i] == model ? 1 : 0);
    }
    found.models.push_back({.ref = written.ref});
    yaml.push_back(std::move(written));
  }
  found.arithmetics = {{"exact", 1.0}};
  found.yaml = to_yaml(yaml, false, common_dtype(alignment), "exact");
  return found;
}

}  // namespace hieron
