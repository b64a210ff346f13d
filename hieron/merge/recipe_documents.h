// Several documents of one file, which may name one another.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/recipe.h"

namespace hieron {

// Lines [first, end) of a text, from 1; end 0: to the end.
std::string lines_of(std::string_view text, int first, int end);

// Marks the references that name another document, and orders the documents so that each comes
// after those it names: else in file order, the one without a name last. Refused: a cycle, a name
// twice, a second document without a name.
Result<std::vector<Recipe>> in_order(std::vector<Recipe> recipes);

// Every reference of a recipe to a model, in the order of the YAML's parts: sources and bases of
// slices, base_model, tokenizer.
void for_each_model(const Recipe& recipe, const std::function<void(const ModelRef&)>& see);

// References to other documents become references to FOLDER/name.
void read_documents_from(Recipe& recipe, const std::string& folder);

}  // namespace hieron
