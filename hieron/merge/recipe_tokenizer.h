// `tokenizer_source` and `tokenizer`: which vocabulary a merge gets, and where its rows come from.
#pragma once

#include <optional>

#include "hieron/format/yaml.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/recipe_reader.h"

namespace hieron {

// Of a recipe's top level; none if it says nothing. Problems go to `in`.
std::optional<RecipeTokenizer> read_tokenizer(const yaml::Node& root, RecipeReader& in);

}  // namespace hieron
