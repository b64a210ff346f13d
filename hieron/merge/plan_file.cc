#include "hieron/merge/plan_file.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "hieron/io/file.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/plan_documents.h"
#include "hieron/merge/plan_mixture.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/recipe_documents.h"
#include "hieron/merge/recipe_models.h"
#include "hieron/merge/yaml.h"

namespace hieron {
namespace {

using Planned = Result<std::shared_ptr<const Plan>>;

Problem problem_of(const Error& error, const std::string& recipe) {
  const bool has_line = error.file == recipe && error.offset;
  return {.sentence = error.sentence,
          .tensor = error.tensor,
          .line = has_line ? static_cast<int>(*error.offset) : 0,
          .code = error.code};
}

// What keeps a file from being planned: of its text, and of its models.
class Refusal {
 public:
  Refusal(const std::string& path, const PlanOptions& options)
      : options_(options), plan_(std::make_shared<Plan>()) {
    plan_->recipe.file = path;
  }

  void add(const std::vector<Error>& errors) {
    for (const Error& error : errors) add(problem_of(error, plan_->recipe.file));
  }

  void look_at(const std::vector<Recipe>& recipes) {
    for (const Recipe& recipe : recipes) documents_.insert(recipe.name);
    for (const Recipe& recipe : recipes) {
      note_arithmetic(recipe.arithmetic);
      RecipeModels models(
          recipe.file,
          casts_first(plan_->arithmetic) ? AdapterArithmetic::kPeft : AdapterArithmetic::kExact,
          nullptr, options_.source);
      for_each_model(recipe, [&](const ModelRef& ref) { try_model(models, ref); });
    }
    if (!recipes.empty()) plan_->method = find_method(recipes.back().method);
  }

  void look_at(const MoeRecipe& recipe) {
    note_arithmetic(recipe.arithmetic);
    plan_->method = find_method("passthrough");
    RecipeModels models(recipe.file, AdapterArithmetic::kExact, nullptr, options_.source);
    try_model(models, recipe.base_model);
    for (const auto* experts : {&recipe.experts, &recipe.shared_experts}) {
      for (const MoeExpert& expert : *experts) try_model(models, expert.source);
    }
  }

  // With `why` if nothing else was found.
  Planned finish(const std::optional<Error>& why = {}) && {
    if (plan_->problems.empty() && why) add({*why});
    return plan_;
  }

 private:
  void note_arithmetic(const std::optional<std::string>& of_recipe) {
    plan_->arithmetic = options_.arithmetic.value_or(of_recipe.value_or("exact"));
  }

  void try_model(RecipeModels& models, const ModelRef& ref) {
    if (ref.path.empty() || documents_.contains(ref.path)) return;
    const auto opened = models.open(ref);
    if (opened) return;
    Problem problem = problem_of(opened.error(), plan_->recipe.file);
    problem.line = ref.line;
    add(std::move(problem));
  }

  void add(Problem problem) {
    if (said_.insert(problem.sentence).second) plan_->problems.push_back(std::move(problem));
  }

  const PlanOptions& options_;
  const std::shared_ptr<Plan> plan_;
  std::set<std::string> documents_, said_;
};

// Plans a draft with `plan`; if that cannot be, lists why.
Planned plan_draft(const auto& draft, const auto& recipes, const std::string& path,
                   const PlanOptions& options, const auto& plan) {
  Refusal refusal(path, options);
  refusal.add(draft.problems);
  std::optional<Error> why;
  if (draft.problems.empty()) {
    Planned planned = plan(recipes);
    if (planned) return planned;
    why = planned.error();
    if (why->code == ErrorCode::kUsage || why->code == ErrorCode::kBug) return planned;
  }
  refusal.look_at(recipes);
  return std::move(refusal).finish(why);
}

}  // namespace

Result<std::shared_ptr<const Plan>> plan_file(const std::string& path, const PlanOptions& options) {
  HIERON_TRY(const std::string text, read_text(path, yaml::kMaxBytes));
  if (recipe_kind(text, path) == RecipeKind::kMoe) {
    const MoeDraft draft = draft_moe_recipe(text, path);
    return plan_draft(draft, draft.recipe, path, options,
                      [&](const MoeRecipe& recipe) { return plan_mixture(recipe, options); });
  }
  const RecipeDraft draft = draft_recipes(text, path, options.arithmetic.value_or(""));
  return plan_draft(draft, draft.recipes, path, options, [&](const std::vector<Recipe>& recipes) {
    return plan_documents(recipes, options);
  });
}

}  // namespace hieron
