// Any bytes as a recipe: refused with a sentence, or parsed; the same twice. One document or
// several, a merge or a mixture of experts.
#include <cmath>
#include <cstdlib>
#include <string>

#include "hieron/core/text.h"
#include "hieron/merge/recipe.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_sentence(const std::string& sentence) {
  require(!sentence.empty() && hieron::valid_utf8(sentence));
  require(!hieron::has_control_or_bidi(sentence));
}

// A parser gave the same twice, and a sentence if it refused. Did it accept?
template <class T>
bool check(const hieron::Result<T>& result, const hieron::Result<T>& again) {
  require(result.has_value() == again.has_value());
  if (result) return true;
  check_sentence(result.error().sentence);
  require(result.error().code == hieron::ErrorCode::kRefused);
  require(result.error().sentence == again.error().sentence);
  return false;
}

void check_parameters(const std::vector<hieron::ParameterSetting>& settings) {
  for (const hieron::ParameterSetting& setting : settings) {
    for (const double t : {0.0, 0.3, 1.0}) {
      const auto value = hieron::evaluate(setting, "layers.0.mlp.up_proj.weight", t);
      const auto text = hieron::evaluate_text(setting, "layers.0.mlp.up_proj.weight", t);
      require(!value || !text);
      if (value && setting.rules.size() == 1) require(!std::isnan(*value));
    }
  }
}

void check_recipe(const hieron::Recipe& recipe) {
  for (const hieron::RecipeWarning& warning : recipe.warnings) check_sentence(warning.sentence);
  check_parameters(recipe.parameters);
  for (const hieron::RecipeSlice& slice : recipe.slices) {
    check_parameters(slice.parameters);
    for (const hieron::RecipeSource& source : slice.sources) {
      require(!source.model.path.empty());
      require(hieron::same_model(source.model, source.model));
      check_parameters(source.parameters);
    }
  }
}

// Documents come after those they name.
void check_order(const std::vector<hieron::Recipe>& recipes) {
  for (size_t i = 0; i < recipes.size(); ++i) {
    check_recipe(recipes[i]);
    const auto& base = recipes[i].base_model;
    if (!base || !base->document) continue;
    bool before = false;
    for (size_t j = 0; j < i; ++j) before = before || recipes[j].name == base->path;
    require(before);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view yaml(reinterpret_cast<const char*>(data), size);
  check(hieron::recipe_kind(yaml), hieron::recipe_kind(yaml));
  for (const char* arithmetic : {"", "mergekit-0.1.4"}) {
    const auto one = hieron::parse_recipe(yaml, "fuzzed.yml", arithmetic);
    const auto all = hieron::parse_recipes(yaml, "fuzzed.yml", arithmetic);
    if (check(one, hieron::parse_recipe(yaml, "fuzzed.yml", arithmetic))) {
      check_recipe(*one);
      require(all && all->size() == 1);
    }
    if (check(all, hieron::parse_recipes(yaml, "fuzzed.yml", arithmetic))) check_order(*all);
  }
  const auto mixture = hieron::parse_moe_recipe(yaml, "fuzzed.yml");
  if (check(mixture, hieron::parse_moe_recipe(yaml, "fuzzed.yml"))) {
    for (const hieron::RecipeWarning& warning : mixture->warnings) check_sentence(warning.sentence);
  }
  return 0;
}
