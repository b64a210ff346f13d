#include "hieron/cli/recipe_file.h"

#include <fmt/format.h>

#include "hieron/format/yaml.h"
#include "hieron/io/file.h"

namespace hieron {

Result<std::vector<Recipe>> read_merges(const std::string& path,
                                        const std::optional<std::string>& arithmetic) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  HIERON_TRY(const RecipeKind kind, recipe_kind(text, path));
  if (kind == RecipeKind::kMoe) {
    return refuse(fmt::format("{}: a mixture of experts has no documents to be written one by one; "
                              "leave -I out.",
                              path),
                  path);
  }
  return parse_recipes(text, path, arithmetic.value_or(""));
}

}  // namespace hieron
