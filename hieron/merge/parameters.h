// The parameters of one tensor, out of the levels of a recipe: source, slice, whole recipe, the
// method's default; filters and gradients evaluated.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/merge/method.h"
#include "hieron/merge/recipe.h"

namespace hieron {

class ParameterResolver {
 public:
  ParameterResolver(const Recipe& recipe, const MethodInfo& about)
      : recipe_(recipe), about_(about) {}

  struct Missing {
    std::string_view parameter;
    const RecipeSource* source;
  };

  // One map per source, in that order; the base (an index into `sources`) needs no parameters.
  // Null if a required one is missing (`missing()` then says which). Tensors alike share one set.
  std::shared_ptr<const TensorParameters> resolve(const RecipeSlice& slice,
                                                  std::span<const RecipeSource* const> sources,
                                                  std::optional<size_t> base,
                                                  std::string_view tensor, double t);
  const std::vector<Missing>& missing() const { return missing_; }

  // Same for all: tensors that take no parameters.
  std::shared_ptr<const TensorParameters> none() { return shared({}); }

 private:
  bool uniform(const RecipeSlice& slice);
  std::optional<TensorParameters> look_up_all(const RecipeSlice& slice,
                                              std::span<const RecipeSource* const> sources,
                                              std::optional<size_t> base, std::string_view tensor,
                                              double t);
  std::shared_ptr<const TensorParameters> shared(TensorParameters parameters);

  const Recipe& recipe_;
  const MethodInfo& about_;
  std::map<const RecipeSlice*, bool> uniform_;
  std::map<std::pair<std::vector<ParameterMap>, ParameterMap>,
           std::shared_ptr<const TensorParameters>>
      known_;
  std::vector<const RecipeSource*> last_sources_;
  std::shared_ptr<const TensorParameters> last_;
  std::vector<Missing> missing_;
};

}  // namespace hieron
