// What a recipe declares against what the bytes say: two recipes compared, in plain words.
//
// The declared one is somebody's claim; the other reproduces the bytes. Values are compared where
// they take effect: weights that a method divides by their sum are compared as shares of it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/merge/recipe.h"

namespace hieron {

struct RecipeDifference {
  std::string what;             // "method", "weight of A", "parent", "select_topk" …
  std::string declared, found;  // "none" where it was not declared
  std::string sentence;         // "declared weight 0.5 of A, the bytes say 0.6"
};

// What gives the bytes instead of what was declared.
struct Fit {
  std::string yaml;  // the recipe; empty for an adapter
  std::string arithmetic;
  Replay whole;  // of the suspect against it
  std::vector<RecipeDifference> differences;
};

struct FitSearch {
  std::optional<Fit> fits;
  size_t tried = 0;  // replays, of a part of the checkpoint at least
  // Where nothing fits: the best share of equal elements of the whole, and the recipe it belongs to
  // (empty: the declared one).
  double best_share = 0;
  std::string closest;
};

// A recipe, and the arithmetic under which it is meant: the recipe's own unless asked otherwise.
struct RecipeClaim {
  const Recipe& recipe;
  std::string_view arithmetic;
};

// In the order of importance: method, base, parents, their parameters, those of the merge, dtypes,
// arithmetic, keys of the declared recipe that had no effect. Both recipes name models alike.
std::vector<RecipeDifference> recipe_differences(const RecipeClaim& declared,
                                                 const RecipeClaim& found);

}  // namespace hieron
