#include "hieron/merge/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace hieron {
namespace {

using testing::HasSubstr;

constexpr const char* kTwoModels =
    "merge_method: linear\n"
    "models:\n"
    "  - model: a\n"
    "    parameters: {weight: 0.6}\n"
    "  - model: b\n"
    "    parameters: {weight: 0.4}\n";

Result<Recipe> parse(const std::string& yaml) { return parse_recipe(yaml, "r.yml"); }

std::string refusal(const std::string& yaml) {
  const auto recipe = parse(yaml);
  return recipe ? "accepted" : recipe.error().sentence;
}

double weight(const Recipe& recipe, size_t model) {
  return *evaluate(recipe.slices[0].sources[model].parameters[0], "w", 0);
}

TEST(Recipe, ReadsTwoWeightedModels) {
  const auto recipe = parse(kTwoModels);
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(recipe->method, "linear");
  ASSERT_EQ(recipe->slices.size(), 1u);
  EXPECT_EQ(recipe->slices[0].sources[1].model.path, "b");
  EXPECT_EQ(recipe->slices[0].sources[1].line, 5);
  EXPECT_EQ(weight(*recipe, 0), 0.6);
  EXPECT_TRUE(recipe->warnings.empty());
}

TEST(Recipe, ReadsNumbersThatYamlCallsText) {
  const auto recipe = parse(
      "merge_method: linear\nparameters: {normalize: 1.0}\nmodels:\n"
      "- {model: a, parameters: {weight: 1e-5}}\n- {model: b, parameters: {weight: '+.5'}}\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(weight(*recipe, 0), 1e-5);
  EXPECT_EQ(weight(*recipe, 1), 0.5);
  EXPECT_EQ(*evaluate(recipe->parameters[0], "w", 0), 1.0);
}

TEST(Recipe, RefusesAStrayCommaOrBracketInsteadOfReadingOnForEver) {
  for (const char* text : {",l", "]", "}", "\n\n,", "merge_method: linear\n---\n]"}) {
    EXPECT_THAT(refusal(text), HasSubstr("not YAML")) << text;
  }
  EXPECT_THAT(refusal("\n\n,"), HasSubstr("line 3"));
}

TEST(Recipe, InterpolatesAGradientOverDepth) {
  const auto recipe =
      parse("merge_method: linear\nmodels:\n- {model: a, parameters: {weight: [0.9, 0.4, 0.1]}}\n");
  ASSERT_TRUE(recipe);
  const ParameterSetting& setting = recipe->slices[0].sources[0].parameters[0];
  EXPECT_EQ(evaluate(setting, "w", 0), 0.9);
  EXPECT_EQ(evaluate(setting, "w", 0.5), 0.4);
  EXPECT_DOUBLE_EQ(*evaluate(setting, "w", 0.25), 0.65);
  EXPECT_EQ(evaluate(setting, "w", 1), 0.1);
}

TEST(Recipe, TakesTheFirstFilterThatMatches) {
  const auto recipe = parse(
      "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight:\n"
      "    - {filter: mlp, value: 0.7}\n    - {filter: '*', value: [0.5]}\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  const ParameterSetting& setting = recipe->slices[0].sources[0].parameters[0];
  EXPECT_EQ(evaluate(setting, "layers.0.mlp.up", 0), 0.7);
  EXPECT_EQ(evaluate(setting, "layers.0.attn", 0), 0.5);
}

TEST(Recipe, AsksWhatAMisspeltKeyMeans) {
  EXPECT_THAT(refusal("merge_method: linear\nmodles: []\n"), HasSubstr("did you mean \"models\"?"));
  EXPECT_THAT(
      refusal("merge_method: linear\nmodels:\n- model: a\n  parmeters: {weight: 1}\n"),
      HasSubstr("line 4: unknown key \"parmeters\" in a model; did you mean \"parameters\"?"));
  EXPECT_THAT(refusal("merge_method: linear\nmodels:\n- model: a\n  parameters: {wieght: 1}\n"),
              HasSubstr("did you mean \"weight\"?"));
  EXPECT_THAT(refusal("merge_method: linaer\nmodels: [{model: a}]\n"),
              HasSubstr("did you mean \"linear\"?"));
  EXPECT_THAT(refusal("merge_method: linear\ndtype: bfloat61\nmodels: [{model: a}]\n"),
              HasSubstr("did you mean \"bfloat16\"?"));
}

TEST(Recipe, ReplayedVersionsIgnoreAMisspeltKeyWithAWarning) {
  const auto recipe =
      parse_recipe(std::string(kTwoModels) + "dtpye: bfloat16\n", "r.yml", "mergekit-0.1.5");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  ASSERT_EQ(recipe->warnings.size(), 1u);
  EXPECT_THAT(recipe->warnings[0].sentence, HasSubstr("did you mean \"dtype\"?"));
}

TEST(Recipe, WarnsOfWhatHasNoEffect) {
  const auto recipe =
      parse(std::string(kTwoModels) + "parameters: {density: 0.5}\nunrelated_key: 1\n");
  ASSERT_TRUE(recipe);
  ASSERT_EQ(recipe->warnings.size(), 2u);
  EXPECT_EQ(recipe->warnings[0].line, 8);
  EXPECT_EQ(recipe->warnings[1].line, 7);
}

TEST(Recipe, SaysWhichMethodsAreNotBuiltYet) {
  EXPECT_EQ(refusal("merge_method: slerp\nmodels: [{model: a}]\n"),
            "r.yml, line 1: merge_method \"slerp\" is known to mergekit, but not built here yet.");
}

TEST(Recipe, CountsTheOtherProblems) {
  const auto recipe =
      parse("merge_method: linear\ndtype: half\nmodels:\n- {model: a, parameters: {weight: x}}\n");
  ASSERT_FALSE(recipe);
  EXPECT_EQ(recipe.error().offset, 2u);
  EXPECT_EQ(recipe.error().also, 1);
}

TEST(Recipe, ReadsTextCopiedFromAWebPage) {
  std::string text = "\xEF\xBB\xBF```yaml\r\n";
  for (const char* c = kTwoModels; *c; ++c)
    text += *c == '\n' ? std::string("\r\n") : std::string(1, *c);
  const auto recipe = parse(text + "```\r\n``\r\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(recipe->slices[0].sources[0].line, 4);
}

TEST(Recipe, MergesYamlAnchors) {
  const auto recipe = parse(
      "x-weights: &w {weight: 0.5}\nmerge_method: linear\nmodels:\n- model: a\n  parameters: *w\n"
      "- model: b\n  parameters:\n    <<: *w\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(weight(*recipe, 0), 0.5);
  EXPECT_EQ(weight(*recipe, 1), 0.5);
}

TEST(Recipe, RefusesDuplicateKeys) {
  EXPECT_THAT(refusal(std::string(kTwoModels) + "merge_method: linear\n"),
              HasSubstr("stands twice"));
}

TEST(Recipe, RefusesDeepNesting) {
  EXPECT_THAT(refusal("a: " + std::string(5000, '[') + std::string(5000, ']')), HasSubstr("deep"));
}

TEST(Recipe, RefusesAnAliasBomb) {
  std::ostringstream bomb;
  bomb << "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb << "a" << i << ": &a" << i << " [";
    for (int j = 0; j < 10; ++j) bomb << (j ? ", *a" : "*a") << i - 1;
    bomb << "]\n";
  }
  EXPECT_THAT(refusal(bomb.str()), HasSubstr("aliases"));
}

TEST(Recipe, RefusesAHugeText) {
  EXPECT_THAT(refusal(std::string(2 << 20, '#')), HasSubstr("more than"));
}

TEST(Recipe, RefusesWhatIsNotUtf8) { EXPECT_THAT(refusal("a: \xff\xfe\n"), HasSubstr("UTF-8")); }

TEST(Recipe, RefusesSeveralDocuments) {
  EXPECT_THAT(refusal(std::string(kTwoModels) + "---\n" + kTwoModels),
              HasSubstr("second document"));
}

TEST(Recipe, RefusesInfiniteWeights) {
  EXPECT_THAT(refusal("merge_method: linear\nmodels:\n- {model: a, parameters: {weight: inf}}\n"),
              HasSubstr("finite"));
}

TEST(Recipe, ReadsTheHieronMapping) {
  const auto recipe = parse(std::string(kTwoModels) +
                            "hieron: {arithmetic: mergekit-0.1.4, seed: 12ab, threads: 3}\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(recipe->arithmetic, "mergekit-0.1.4");
  EXPECT_EQ(recipe->seed, "12ab");
  EXPECT_EQ(recipe->threads, 3u);
  EXPECT_THAT(refusal(std::string(kTwoModels) + "hieron: {arithmetic: exakt}\n"),
              HasSubstr("did you mean \"exact\""));
}

TEST(Recipe, SplitsReferencesAsMergekitDoes) {
  const auto recipe = parse("merge_method: passthrough\nmodels:\n- model: org/a@v1+org/lora\n");
  ASSERT_TRUE(recipe);
  const ModelRef& ref = recipe->slices[0].sources[0].model;
  EXPECT_EQ(ref.path, "org/a");
  EXPECT_EQ(ref.revision, "v1");
  EXPECT_EQ(ref.adapter, "org/lora");
}

// Recipes of real users: the first line of each, `# expected: …`, says what must become of it.
TEST(Recipe, ReadsOrRefusesTheRecipesOfUsersForTheRightReason) {
  size_t seen = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(HIERON_TEST_DATA) + "/recipes")) {
    if (entry.path().extension() != ".yml") continue;
    std::ifstream in(entry.path());
    std::string first;
    std::getline(in, first);
    std::stringstream rest;
    rest << in.rdbuf();
    const std::string prefix = "# expected: ";
    ASSERT_TRUE(first.starts_with(prefix)) << entry.path();
    EXPECT_THAT(refusal(rest.str()), HasSubstr(first.substr(prefix.size())))
        << entry.path().filename();
    ++seen;
  }
  EXPECT_GE(seen, 15u);
}

}  // namespace
}  // namespace hieron
