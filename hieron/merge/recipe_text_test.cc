#include "hieron/merge/recipe_text.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "hieron/io/file.h"

namespace hieron {
namespace {

// A second time the text is the same: nothing was lost on the way.
TEST(RecipeText, ReadsBackAsTheSameRecipe) {
  size_t written = 0;
  for (const char* folder : {"recipes", "golden/recipes"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(std::string(HIERON_TEST_DATA "/") + folder)) {
      if (entry.path().extension() != ".yml") continue;
      const auto recipe = read_recipe(entry.path().string());
      if (!recipe) continue;
      const auto text = recipe_text(*recipe);
      if (!text) continue;
      const auto again = parse_recipe(*text, "again.yml");
      ASSERT_TRUE(again) << entry.path() << "\n" << *text << again.error().sentence;
      EXPECT_EQ(recipe_text(*again), text) << entry.path();
      EXPECT_EQ(again->slices.size(), recipe->slices.size());
      EXPECT_EQ(again->dtype, recipe->dtype);
      EXPECT_EQ(again->base_model.has_value(), recipe->base_model.has_value());
      ++written;
    }
  }
  EXPECT_GT(written, 40u);
}

TEST(RecipeText, SaysValuesAsARecipeDoes) {
  const auto recipe = parse_recipe(
      "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\n"
      "parameters:\n  t:\n  - {filter: mlp, value: [0, 0.5, 1]}\n  - value: 0.25\n",
      "r.yml");
  ASSERT_TRUE(recipe);
  const auto text = recipe_text(*recipe);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("t: [{filter: \"mlp\", value: [0, 0.5, 1]}, {filter: \"*\", value: 0.25}]"),
            std::string::npos)
      << *text;
}

TEST(RecipeText, SaysNothingWhereItWouldLoseSomething) {
  const auto recipe = parse_recipe(
      "merge_method: linear\nmodels: [{model: A, parameters: {weight: 1}}]\n"
      "tokenizer_source: union\n",
      "r.yml");
  ASSERT_TRUE(recipe);
  EXPECT_FALSE(recipe_text(*recipe));
}

}  // namespace
}  // namespace hieron
