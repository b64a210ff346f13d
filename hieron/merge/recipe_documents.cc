#include "hieron/merge/recipe_documents.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>

#include "hieron/core/text.h"

namespace hieron {
namespace {

// Of a recipe or a const one.
void visit_models(auto& slices, const auto& see) {
  for (auto& slice : slices) {
    for (auto& source : slice.sources) see(source.model);
    if (slice.base_model) see(*slice.base_model);
  }
}

void visit_all_models(auto& recipe, const auto& see) {
  visit_models(recipe.slices, see);
  for (auto& module : recipe.modules) visit_models(module.slices, see);
  if (recipe.base_model) see(*recipe.base_model);
  if (!recipe.tokenizer) return;
  if (recipe.tokenizer->source == RecipeTokenizer::Source::kModel) see(recipe.tokenizer->model);
  for (auto& token : recipe.tokenizer->tokens) {
    if (!token.model.path.empty()) see(token.model);
  }
}

std::unexpected<Error> refuse_at(const Recipe& recipe, int line, std::string_view clause) {
  return refuse(fmt::format("{}, line {}: {}.", recipe.file, line, clause), recipe.file, {},
                static_cast<uint64_t>(line));
}

std::string title(const Recipe& recipe) {
  return recipe.name.empty() ? "the document without a name"
                             : fmt::format("\"{}\"", printable(recipe.name));
}

using Names = std::map<std::string, size_t, std::less<>>;  // to the document

Result<Names> names_of(const std::vector<Recipe>& recipes) {
  Names names;
  const Recipe* unnamed = nullptr;
  for (size_t i = 0; i < recipes.size(); ++i) {
    const Recipe& recipe = recipes[i];
    if (recipe.name.empty()) {
      if (unnamed) {
        return refuse_at(recipe, recipe.line,
                         fmt::format("a second document without a name begins here (the first in "
                                     "line {}); only the last merge needs none, so add `name: …` "
                                     "to the others",
                                     unnamed->line));
      }
      unnamed = &recipe;
      continue;
    }
    const auto [known, fresh] = names.try_emplace(recipe.name, i);
    if (!fresh) {
      return refuse_at(
          recipe, recipe.line,
          fmt::format("the name {} is taken by the document in line {}; choose another",
                      title(recipe), recipes[known->second].line));
    }
  }
  return names;
}

// A reference to a document, by the document that has it.
struct Need {
  size_t document;
  int line;
};

// Every document that is not done needs one that is not; following these ends in a circle.
std::unexpected<Error> refuse_circle(const std::vector<Recipe>& recipes,
                                     const std::vector<std::vector<Need>>& needs,
                                     const std::vector<bool>& done) {
  const auto next = [&](size_t i) -> const Need& {
    return *std::ranges::find_if(needs[i], [&](const Need& n) { return !done[n.document]; });
  };
  size_t at = 0;
  while (done[at] ||
         std::ranges::all_of(needs[at], [&](const Need& n) { return done[n.document]; })) {
    ++at;
  }
  for (size_t steps = 0; steps < recipes.size(); ++steps) at = next(at).document;
  const Need& need = next(at);
  if (need.document == at) {
    return refuse_at(
        recipes[at], need.line,
        fmt::format("{} is made from itself; a name stands for the document, so rename "
                    "it if a folder of that name is meant",
                    title(recipes[at])));
  }
  return refuse_at(
      recipes[at], need.line,
      fmt::format("{} is made from {}, which is made from it in turn; break the circle",
                  title(recipes[at]), title(recipes[need.document])));
}

}  // namespace

std::string lines_of(std::string_view text, int first, int end) {
  size_t begin = 0, stop = text.size();
  int line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n') continue;
    ++line;
    if (line == first) begin = i + 1;
    if (line == end) stop = i + 1;
  }
  return std::string(text.substr(begin, stop - begin));
}

Result<std::vector<Recipe>> in_order(std::vector<Recipe> recipes) {
  if (recipes.size() == 1) return recipes;
  HIERON_TRY(const Names names, names_of(recipes));
  std::vector<std::vector<Need>> needs(recipes.size());
  for (size_t i = 0; i < recipes.size(); ++i) {
    visit_all_models(recipes[i], [&](ModelRef& ref) {
      const auto found = names.find(ref.path);
      if (found == names.end()) return;
      ref.document = true;
      needs[i].push_back({found->second, ref.line});
    });
  }
  std::vector<Recipe> ordered;
  std::vector<bool> done(recipes.size());
  while (ordered.size() < recipes.size()) {
    const auto waits = [&](const Need& need) { return !done[need.document]; };
    std::optional<size_t> next;
    for (size_t i = 0; i < recipes.size(); ++i) {
      const bool last = recipes[i].name.empty() && ordered.size() + 1 < recipes.size();
      if (!next && !done[i] && !last && std::ranges::none_of(needs[i], waits)) next = i;
    }
    if (next) {
      done[*next] = true;
      ordered.push_back(std::move(recipes[*next]));
      continue;
    }
    return refuse_circle(recipes, needs, done);
  }
  return ordered;
}

void for_each_model(const Recipe& recipe, const std::function<void(const ModelRef&)>& see) {
  visit_all_models(recipe, see);
}

void read_documents_from(Recipe& recipe, const std::string& folder) {
  visit_all_models(recipe, [&](ModelRef& ref) {
    if (!ref.document) return;
    ref.path = (std::filesystem::path(folder) / ref.path).string();
    ref.text = ref.adapter.empty() ? ref.path : ref.path + '+' + ref.adapter;
    ref.revision.clear();
    ref.document = false;
  });
}

}  // namespace hieron
