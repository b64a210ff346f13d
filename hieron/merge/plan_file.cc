#include "hieron/merge/plan_file.h"

#include "hieron/io/file.h"
#include "hieron/merge/plan_documents.h"
#include "hieron/merge/plan_mixture.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/yaml.h"

namespace hieron {

Result<std::shared_ptr<const Plan>> plan_file(const std::string& path, const PlanOptions& options) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  HIERON_TRY(const RecipeKind kind, recipe_kind(text, path));
  if (kind == RecipeKind::kMoe) {
    HIERON_TRY(const MoeRecipe mixture, parse_moe_recipe(text, path));
    return plan_mixture(mixture, options);
  }
  HIERON_TRY(std::vector<Recipe> recipes,
             parse_recipes(text, path, options.arithmetic.value_or("")));
  return plan_documents(std::move(recipes), options);
}

}  // namespace hieron
