#include "hieron/merge/plan_documents.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "hieron/core/text.h"
#include "hieron/merge/computed.h"

namespace hieron {
namespace {

void note_documents(const std::vector<RecipeSlice>& slices, std::set<std::string>& named) {
  for (const RecipeSlice& slice : slices) {
    for (const RecipeSource& source : slice.sources) {
      if (source.model.document) named.insert(source.model.path);
    }
    if (slice.base_model && slice.base_model->document) named.insert(slice.base_model->path);
  }
}

// The documents that a recipe is made from.
std::set<std::string> documents_of(const Recipe& recipe) {
  std::set<std::string> named;
  note_documents(recipe.slices, named);
  for (const RecipeModule& module : recipe.modules) note_documents(module.slices, named);
  if (recipe.base_model && recipe.base_model->document) named.insert(recipe.base_model->path);
  return named;
}

std::string joined_text(const std::vector<Recipe>& recipes) {
  std::string text;
  for (const Recipe& recipe : recipes) {
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
    if (!text.empty() && !recipe.text.starts_with("---")) text += "---\n";
    text += recipe.text;
  }
  return text;
}

// The merge as a model of the next one: with the files it is computed from, so that a plan made
// from it is another one when they change, and the folder where its small files come from.
Result<std::shared_ptr<const Checkpoint>> as_model(const std::shared_ptr<const Plan>& plan) {
  HIERON_TRY(const std::shared_ptr<const Checkpoint> computed, computed_checkpoint(plan));
  auto model = std::make_shared<Checkpoint>(*computed);
  model->ref = plan->recipe.name;
  model->folder = plan->models[plan->donor].checkpoint->folder;
  for (const PlannedModel& input : plan->models) {
    const std::string folder = std::filesystem::path(input.ref).filename().string();
    for (const CheckpointFile& file : input.checkpoint->files) {
      model->files.push_back({fmt::format("{}/{}", folder, file.path), file.bytes, file.file});
    }
  }
  return model;
}

// Documents from which the last is made, by way of others or not.
std::vector<bool> needed_for_the_last(const std::vector<Recipe>& recipes) {
  std::vector<bool> needed(recipes.size());
  std::set<std::string> named;
  needed.back() = true;
  for (size_t i = recipes.size(); i-- > 0;) {
    needed[i] = needed[i] || named.contains(recipes[i].name);
    if (needed[i]) named.merge(documents_of(recipes[i]));
  }
  return needed;
}

}  // namespace

Result<std::shared_ptr<const Plan>> plan_documents(std::vector<Recipe> recipes,
                                                   const PlanOptions& options) {
  if (recipes.size() == 1) return make_plan(std::move(recipes.front()), options);
  const std::vector<bool> needed = needed_for_the_last(recipes);
  const std::string text = joined_text(recipes);
  PlanOptions with = options;
  std::vector<RecipeWarning> warnings;
  for (size_t i = 0; i + 1 < recipes.size(); ++i) {
    Recipe& recipe = recipes[i];
    if (!needed[i]) {
      warnings.push_back(
          {fmt::format("{}, line {}: nothing is made from \"{}\", so it is not made; "
                       "-I DIR writes every document.",
                       recipe.file, recipe.line, printable(recipe.name)),
           recipe.line});
      continue;
    }
    if (recipe.tokenizer || recipe.chat_template) {
      const int line = recipe.tokenizer ? recipe.tokenizer->line : recipe.chat_template_line;
      return refuse(
          fmt::format("{}, line {}: \"{}\" gets a vocabulary or chat template of its own, "
                      "which needs a folder; give one with -I DIR.",
                      recipe.file, line, printable(recipe.name)),
          recipe.file, {}, static_cast<uint64_t>(line));
    }
    const std::string name = recipe.name;
    HIERON_TRY(std::shared_ptr<const Plan> plan, make_plan(std::move(recipe), with));
    if (!plan->problems.empty()) return plan;
    HIERON_TRY(with.documents[name], as_model(plan));
  }
  recipes.back().text = text;
  recipes.back().warnings.insert(recipes.back().warnings.begin(), warnings.begin(), warnings.end());
  return make_plan(std::move(recipes.back()), with);
}

}  // namespace hieron
