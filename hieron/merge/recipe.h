// A recipe as the user wrote it: mergekit's YAML, checked and given line numbers. No model is
// opened here.
//
// The language is described in docs/recipes.md. What a merge makes of a recipe is the Plan
// (plan.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"

namespace hieron {

// One value of a parameter, for the tensors whose name contains `filter` (empty: all). One number
// holds everywhere; several are a gradient over depth.
struct ParameterRule {
  std::string filter;
  std::vector<double> values;
  int line = 0;
};

// A parameter at one level of the recipe. The first rule that matches a tensor holds.
struct ParameterSetting {
  std::string name;
  std::vector<ParameterRule> rules;
  int line = 0;
};

// The value for a tensor at depth t in [0, 1]; nothing if no rule matches it.
std::optional<double> evaluate(const ParameterSetting& setting, std::string_view tensor, double t);

// `path[@revision][+adapter[@revision]]`, or the same as a mapping.
struct ModelRef {
  std::string text;  // as written
  std::string path;
  std::string revision;
  std::string adapter;
  int line = 0;
};

struct RecipeSource {
  ModelRef model;
  std::optional<std::pair<uint64_t, uint64_t>> layers;  // [first, last), of this model
  std::vector<ParameterSetting> parameters;
  int line = 0;
};

struct RecipeSlice {
  std::vector<RecipeSource> sources;  // in input order
  std::optional<ModelRef> base_model;
  std::vector<ParameterSetting> parameters;
  int line = 0;
};

struct RecipeWarning {
  std::string sentence;
  int line = 0;
};

struct Recipe {
  std::string file;    // for messages, and the folder that relative paths start from
  std::string text;    // as given
  std::string method;  // the mergekit name of a method that is built here
  int method_line = 0;
  bool by_slices = false;  // `slices:`, not `models:` (which is one slice of all layers)
  std::vector<RecipeSlice> slices;
  std::vector<ParameterSetting> parameters;  // for all
  std::optional<ModelRef> base_model;
  std::optional<DType> dtype, out_dtype;
  std::optional<std::string> arithmetic;  // hieron.arithmetic
  std::optional<std::string> seed;        // hieron.seed
  std::optional<unsigned> threads;        // hieron.threads
  std::vector<RecipeWarning> warnings;
};

// Parses and checks one YAML document. `file` is for messages; `arithmetic` is the command line's,
// over the recipe's own (under mergekit-* a misspelt key is a warning, as mergekit ignores it; else
// it is refused). The first problem is the error; Error.offset is its line, Error.also how many
// more there are.
Result<Recipe> parse_recipe(std::string_view yaml, const std::string& file,
                            std::string_view arithmetic = {});

// Reads a file and parses it.
Result<Recipe> read_recipe(const std::string& path, std::string_view arithmetic = {});

// Does a REF name a recipe? (.yml or .yaml, and a regular file)
bool is_recipe(const std::string& ref);

}  // namespace hieron
