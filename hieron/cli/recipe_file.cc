#include "hieron/cli/recipe_file.h"

#include <fmt/format.h>

#include "hieron/io/file.h"
#include "hieron/merge/yaml.h"

namespace hieron {

Result<std::vector<Recipe>> read_merges(const std::string& path,
                                        const std::optional<std::string>& arithmetic) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  HIERON_TRY(const RecipeKind kind, recipe_kind(text, path));
  if (kind == RecipeKind::kMoe) {
    HIERON_TRY(const MoeRecipe mixture, parse_moe_recipe(text, path));
    return refuse(
        fmt::format("{}: a mixture of {} experts (mergekit-moe) is read, but this version "
                    "does not build it.",
                    path, mixture.experts.size()),
        path);
  }
  return parse_recipes(text, path, arithmetic.value_or(""));
}

}  // namespace hieron
