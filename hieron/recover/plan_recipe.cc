#include "hieron/recover/plan_recipe.h"

#include <fmt/format.h>

#include "hieron/merge/recipe.h"

namespace hieron {
namespace {

// Models are documents of the recipe: their checkpoints are at hand.
void refer_to_documents(Recipe& recipe) {
  for (RecipeSlice& slice : recipe.slices) {
    for (RecipeSource& source : slice.sources) source.model.document = true;
    if (slice.base_model) slice.base_model->document = true;
  }
  if (recipe.base_model) recipe.base_model->document = true;
}

}  // namespace

std::vector<std::string> model_names(size_t count) {
  std::vector<std::string> names;
  for (size_t m = 0; m < count; ++m) names.push_back(fmt::format("model-{}", m));
  return names;
}

Result<std::shared_ptr<const Plan>> plan_recipe(
    const std::string& yaml, const std::vector<std::string>& names,
    const std::vector<std::shared_ptr<const Checkpoint>>& models) {
  HIERON_TRY(Recipe recipe, parse_recipe(yaml, "recovered"));
  refer_to_documents(recipe);
  PlanOptions options;
  for (size_t m = 0; m < models.size(); ++m) {
    if (models[m]) options.documents[names[m]] = models[m];
  }
  return make_plan(std::move(recipe), options);
}

}  // namespace hieron
