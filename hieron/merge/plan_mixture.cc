#include "hieron/merge/plan_mixture.h"

#include "hieron/merge/experts.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/moe.h"

namespace hieron {
namespace {

constexpr const char* kMixture = "mixture";

// The same tensors, under the same names.
Recipe copy_of_mixture(const MoeRecipe& recipe) {
  ModelRef mixture;
  mixture.text = mixture.path = kMixture;
  mixture.document = true;
  RecipeSource source;
  source.model = std::move(mixture);
  RecipeSlice slice;
  slice.sources.push_back(std::move(source));
  Recipe copy;
  copy.file = recipe.file;
  copy.text = recipe.text;
  copy.method = "passthrough";
  copy.slices.push_back(std::move(slice));
  if (mergekit_version(recipe.arithmetic.value_or(""))) copy.arithmetic = recipe.arithmetic;
  copy.threads = recipe.threads;
  copy.warnings = recipe.warnings;
  return copy;
}

}  // namespace

Result<std::shared_ptr<const Plan>> plan_mixture(const MoeRecipe& recipe,
                                                 const PlanOptions& options) {
  RecipeModels models(recipe.file, AdapterArithmetic::kExact, nullptr, options.source);
  const auto open = [&](const ModelRef& ref) -> Result<std::shared_ptr<const Checkpoint>> {
    HIERON_TRY(const uint32_t model, models.open(ref));
    return models.all()[model].checkpoint;
  };
  PlanOptions with = options;
  with.seed = options.seed.value_or(recipe.seed_number.value_or(0));
  const std::string arithmetic = options.arithmetic.value_or(recipe.arithmetic.value_or("exact"));
  HIERON_TRY(const std::shared_ptr<const Checkpoint> mixture,
             make_mixture(recipe, open, *with.seed, mergekit_version(arithmetic)));
  with.documents[kMixture] = mixture;
  with.experts = expert_layout(*mixture);
  for (const PlannedModel& model : models.all()) with.parents.push_back(model.ref);
  return make_plan(copy_of_mixture(recipe), with);
}

}  // namespace hieron
