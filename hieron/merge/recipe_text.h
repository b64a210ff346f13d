// A recipe written down again, as mergekit YAML.
#pragma once

#include <optional>
#include <string>

#include "hieron/merge/recipe.h"

namespace hieron {

// Reads back as the same recipe; comments and keys without effect are gone. Nothing: it has
// modules, a vocabulary or a chat template of its own, or names other documents, which this does
// not write.
std::optional<std::string> recipe_text(const Recipe& recipe);

// The value as the recipe would say it: "0.5", "true", "[0, 0.5, 1]", "{filter: \"mlp\", value:
// 1}".
std::string setting_text(const ParameterSetting& setting, const std::string& method);

}  // namespace hieron
