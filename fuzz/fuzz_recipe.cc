// Any bytes as a recipe: refused with a sentence, or parsed; the same twice.
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view yaml(reinterpret_cast<const char*>(data), size);
  const auto recipe = hieron::parse_recipe(yaml, "fuzzed.yml");
  const auto again = hieron::parse_recipe(yaml, "fuzzed.yml");
  require(recipe.has_value() == again.has_value());
  if (!recipe) {
    check_sentence(recipe.error().sentence);
    require(recipe.error().code == hieron::ErrorCode::kRefused);
    require(recipe.error().sentence == again.error().sentence);
    return 0;
  }
  for (const hieron::RecipeWarning& warning : recipe->warnings) check_sentence(warning.sentence);
  return 0;
}
