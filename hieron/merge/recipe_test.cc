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

std::string told(std::string fate, const std::vector<RecipeWarning>& warnings) {
  for (const RecipeWarning& warning : warnings) fate += ": " + warning.sentence;
  return fate;
}

// "accepted" and the warnings, or the refusal.
std::string fate(const std::string& yaml) {
  if (const auto kind = recipe_kind(yaml); kind && *kind == RecipeKind::kMoe) {
    const auto mixture = parse_moe_recipe(yaml, "r.yml");
    return mixture ? told("accepted", mixture->warnings) : mixture.error().sentence;
  }
  const auto recipes = parse_recipes(yaml, "r.yml");
  if (!recipes) return recipes.error().sentence;
  std::string all = "accepted";
  for (const Recipe& recipe : *recipes) all = told(all, recipe.warnings);
  return all;
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

TEST(Recipe, SaysWhatIsKnownOfMethodsThatMergekitDoesNotHave) {
  EXPECT_THAT(refusal("merge_method: cabs\nmodels: [{model: a}]\n"), HasSubstr("fork of mergekit"));
  EXPECT_THAT(refusal("merge_method: simple_average\nmodels: [{model: a}]\n"),
              HasSubstr("write merge_method: linear"));
  EXPECT_EQ(refusal("merge_method: nothing_like_it\nmodels: [{model: a}]\n"),
            "r.yml, line 1: unknown merge_method \"nothing_like_it\"; `hieron methods` lists those "
            "there are.");
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

TEST(Recipe, RefusesSeveralDocumentsWhereOneIsWanted) {
  EXPECT_THAT(refusal(std::string(kTwoModels) + "---\n" + kTwoModels),
              HasSubstr("line 7: a second document"));
}

TEST(Recipe, RefusesInfiniteWeights) {
  EXPECT_THAT(refusal("merge_method: linear\nmodels:\n- {model: a, parameters: {weight: inf}}\n"),
              HasSubstr("finite"));
}

TEST(Recipe, ReadsTheHieronMapping) {
  const auto recipe = parse(std::string(kTwoModels) +
                            "hieron: {arithmetic: mergekit-0.1.4, seed: 0xfffffffffffffffe, "
                            "threads: 3, experts: fused}\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(recipe->arithmetic, "mergekit-0.1.4");
  EXPECT_EQ(recipe->seed, "0xfffffffffffffffe");
  EXPECT_EQ(recipe->seed_number, 0xfffffffffffffffe);
  EXPECT_EQ(recipe->threads, 3u);
  EXPECT_EQ(recipe->experts, ExpertLayout::kFused);
  EXPECT_THAT(refusal(std::string(kTwoModels) + "hieron: {arithmetic: exakt}\n"),
              HasSubstr("did you mean \"exact\""));
}

TEST(Recipe, TakesASeedOf64BitsAndNoOther) {
  for (const char* seed : {"-1", "12ab", "18446744073709551616", "0x", "1.5", "[1]"}) {
    EXPECT_THAT(refusal(std::string(kTwoModels) + "hieron: {seed: " + seed + "}\n"),
                HasSubstr("line 7: hieron.seed"))
        << seed;
  }
  const auto recipe = parse(std::string(kTwoModels) + "hieron: {seed: 18446744073709551615}\n");
  ASSERT_TRUE(recipe);
  EXPECT_EQ(recipe->seed_number, 18446744073709551615u);
}

// The values are what PyYAML 6.0 and then float() give.
TEST(Recipe, ReadsNumbersAsPyYamlDoes) {
  const std::vector<std::pair<std::string, double>> known{
      {"1e-5", 1e-5}, {"+.5", 0.5},   {".5e1", 5},   {"1_000", 1000}, {"1_0.2_5", 10.25},
      {"-3", -3},     {"0x10", 16},   {"010", 8},    {"'010'", 10},   {"0b101", 5},
      {"5.", 5},      {"'1e3'", 1e3}, {"08", 8},     {"true", 1},     {"No", 0},
      {"-0x10", -16}, {"0.1", 0.1},   {"1E+2", 100}, {"0", 0},
  };
  for (const auto& [text, value] : known) {
    const auto recipe =
        parse("merge_method: linear\nmodels: [{model: a, parameters: {weight: " + text + "}}]\n");
    ASSERT_TRUE(recipe) << text << ": " << recipe.error().sentence;
    EXPECT_EQ(weight(*recipe, 0), value) << text;
  }
  for (const char* text : {"1:30", "+-1", "--1", "1e", "0o10", ".nan", "_1", "1_", "50%", "''"}) {
    EXPECT_THAT(refusal(std::string("merge_method: linear\nmodels: [{model: a, parameters: "
                                    "{weight: ") +
                        text + "}}]\n"),
                HasSubstr("weight must be a finite number"))
        << text;
  }
}

TEST(Recipe, StepsThroughAListOfTruthsInsteadOfInterpolating) {
  const std::string yaml =
      std::string(kTwoModels) + "parameters: {normalize: [true, false, true]}\n";
  const auto now = parse(yaml);
  ASSERT_TRUE(now);
  EXPECT_EQ(evaluate(now->parameters[0], "w", 0.49), 1);
  EXPECT_EQ(evaluate(now->parameters[0], "w", 0.75), 0);
  const auto then = parse_recipe(yaml, "r.yml", "mergekit-0.1.4");
  ASSERT_TRUE(then);
  EXPECT_EQ(evaluate(then->parameters[0], "w", 0.75), 0.5);
}

TEST(Recipe, RefusesAHalfTruth) {
  const std::string yaml = std::string(kTwoModels) + "parameters: {normalize: 0.5}\n";
  EXPECT_THAT(refusal(yaml), HasSubstr("normalize must be true or false"));
  EXPECT_TRUE(parse_recipe(yaml, "r.yml", "mergekit-0.1.4"));
}

TEST(Recipe, SaysThatNoTensorReachesAFilterBehindOneForAll) {
  const auto recipe = parse(
      "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight:\n"
      "    - value: 1\n    - {filter: mlp, value: 0.5}\n");
  ASSERT_TRUE(recipe);
  ASSERT_EQ(recipe->warnings.size(), 1u);
  EXPECT_EQ(recipe->warnings[0].sentence,
            "r.yml, line 7: no tensor comes as far as this filter of weight; the entry in line 6 "
            "takes all.");
}

TEST(Recipe, SplitsReferencesAsMergekitDoes) {
  const auto recipe = parse("merge_method: passthrough\nmodels:\n- model: org/a@v1+org/lora@v2\n");
  ASSERT_TRUE(recipe);
  const ModelRef& ref = recipe->slices[0].sources[0].model;
  EXPECT_EQ(ref.path, "org/a");
  EXPECT_EQ(ref.revision, "v1");
  EXPECT_EQ(ref.adapter, "org/lora");
  EXPECT_EQ(ref.adapter_revision, "v2");
}

TEST(Recipe, ReadsAReferenceWrittenAsAMapping) {
  for (const char* model :
       {"{model: {path: org/a, revision: v1}, lora: {path: org/lora, revision: v2}}",
        "{model: org/a@v1, lora: org/lora@v2}", "org/a@v1+org/lora@v2"}) {
    const auto recipe =
        parse(std::string("merge_method: passthrough\nmodels:\n- model: ") + model + "\n");
    ASSERT_TRUE(recipe) << recipe.error().sentence;
    const ModelRef& ref = recipe->slices[0].sources[0].model;
    EXPECT_EQ(ref.text, "org/a@v1+org/lora@v2");
    EXPECT_EQ(ref.adapter, "org/lora");
    EXPECT_EQ(ref.adapter_revision, "v2");
  }
  EXPECT_THAT(refusal("merge_method: passthrough\nmodels:\n- model: {path: a, revison: b}\n"),
              HasSubstr("did you mean \"revision\"?"));
}

ModelRef model(const std::string& path) {
  ModelRef ref;
  ref.path = path;
  return ref;
}

TEST(Recipe, KnowsOnePathInSeveralSpellings) {
  EXPECT_TRUE(same_model(model("//home/a"), model("/home/a")));
  EXPECT_TRUE(same_model(model("./a/"), model("a")));
  EXPECT_FALSE(same_model(model("/a"), model("a")));
  ModelRef adapted = model("a");
  adapted.adapter = "b";
  EXPECT_FALSE(same_model(adapted, model("a")));
}

TEST(Recipe, ReadsModulesWithTheirParametersBehindThoseOfTheirSlices) {
  const auto recipe = parse(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  text:\n    parameters: {weight: 2}\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 1]}]\n      parameters: {weight: 3}\n"
      "    - sources: [{model: a, layer_range: [1, 2]}]\n"
      "  vision:\n    models: [{model: a}]\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_TRUE(recipe->slices.empty());
  ASSERT_EQ(recipe->modules.size(), 2u);
  const RecipeModule& text = recipe->modules[0];
  EXPECT_TRUE(text.by_slices);
  EXPECT_EQ(evaluate(text.slices[0].parameters[0], "w", 0), 3);
  EXPECT_EQ(evaluate(text.slices[1].parameters[0], "w", 0), 2);
  EXPECT_TRUE(recipe->modules[1].slices[0].parameters.empty());
}

TEST(Recipe, TakesASingleModuleForTheWholeModel) {
  const auto recipe = parse(
      "merge_method: passthrough\nmodules:\n  default:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 1]}]\n");
  ASSERT_TRUE(recipe);
  EXPECT_TRUE(recipe->by_slices);
  EXPECT_EQ(recipe->slices.size(), 1u);
}

TEST(Recipe, TakesOneOfModelsSlicesAndModules) {
  EXPECT_THAT(refusal(std::string(kTwoModels) + "modules: {default: {models: [{model: a}]}}\n"),
              HasSubstr("line 7: models, slices and modules exclude one another"));
  EXPECT_THAT(refusal("merge_method: linear\nmodules: {default: {}}\n"),
              HasSubstr("needs either models or slices"));
}

TEST(Recipe, MissesAWeightBeforeAnyModelIsOpened) {
  EXPECT_THAT(refusal("merge_method: linear\nmodels:\n- model: a\n  parameters: {weight: 1}\n"
                      "- model: b\n"),
              HasSubstr("line 5: the model \"b\" has no weight, which linear needs"));
  EXPECT_EQ(refusal("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\n"),
            "accepted");
}

TEST(Recipe, ExcusesTheBaseFromParametersHoweverItIsSpelt) {
  const std::string yaml =
      "merge_method: task_arithmetic\nmodels:\n- model: /m/base\n- model: a\n"
      "  parameters: {weight: 1}\n";
  EXPECT_EQ(refusal(yaml + "base_model: //m/base\n"), "accepted");
  EXPECT_THAT(refusal(yaml), HasSubstr("line 1: task_arithmetic merges differences from a base"));
}

TEST(Recipe, ReadsATokenizer) {
  const auto recipe = parse(std::string(kTwoModels) +
                            "tokenizer:\n  source: org/t@v1\n  pad_to_multiple_of: 64\n  tokens:\n"
                            "    <a>: {source: b, force: true}\n"
                            "    <b>: {source: {kind: model_token, model: b, token: x}}\n"
                            "    <c>: {source: {kind: model_token, model: b, token_id: 7}}\n"
                            "    <d>: {source: {kind: zero}}\n    <e>: {force: true}\n");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  const RecipeTokenizer& tokenizer = *recipe->tokenizer;
  EXPECT_EQ(tokenizer.source, RecipeTokenizer::Source::kModel);
  EXPECT_EQ(tokenizer.model.revision, "v1");
  EXPECT_EQ(tokenizer.pad_to_multiple_of, 64u);
  EXPECT_EQ(tokenizer.line, 8);
  using From = RecipeToken::From;
  ASSERT_EQ(tokenizer.tokens.size(), 5u);
  const std::vector<From> from{From::kModel, From::kModelToken, From::kModelToken, From::kZero,
                               From::kDefault};
  for (size_t i = 0; i < from.size(); ++i) EXPECT_EQ(tokenizer.tokens[i].from, from[i]) << i;
  EXPECT_TRUE(tokenizer.tokens[0].force);
  EXPECT_EQ(tokenizer.tokens[1].other, "x");
  EXPECT_EQ(tokenizer.tokens[2].id, 7u);
  EXPECT_EQ(tokenizer.tokens[4].line, 15);
}

TEST(Recipe, SaysWhatIsWrongWithATokenizer) {
  const auto with = [](const std::string& more) { return refusal(kTwoModels + more); };
  EXPECT_EQ(with("tokenizer_source: union\n"), "accepted");
  EXPECT_EQ(with("tokenizer: {}\n"), "accepted");
  EXPECT_THAT(with("tokenizer_source: unoin\n"), HasSubstr("did you mean \"union\"?"));
  EXPECT_THAT(with("tokenizer_source: base\ntokenizer: {source: base}\n"),
              HasSubstr("line 8: tokenizer_source and tokenizer exclude each other"));
  EXPECT_THAT(with("tokenizer: union\n"), HasSubstr("tokenizer_source: …"));
  EXPECT_THAT(with("tokenizer: {pad_to_multiple_of: 0}\n"), HasSubstr("pad_to_multiple_of"));
  EXPECT_THAT(with("tokenizer: {tokens: {a: {source: {kind: model_tokn, model: b}}}}\n"),
              HasSubstr("did you mean \"model_token\"?"));
  EXPECT_THAT(with("tokenizer: {tokens: {a: {source: {kind: model_token, model: b}}}}\n"),
              HasSubstr("either token or token_id"));
}

TEST(Recipe, ReadsAChatTemplate) {
  const auto with = [](const std::string& text) {
    return refusal(std::string(kTwoModels) + "chat_template: " + text + "\n");
  };
  for (const char* good : {"auto", "chatml", "llama3", "'{% for m in messages %}{{ m }}'"}) {
    EXPECT_EQ(with(good), "accepted") << good;
  }
  EXPECT_THAT(with("chatlm"), HasSubstr("did you mean \"chatml\"?"));
}

// ---- several documents

std::string order(const std::string& yaml) {
  const auto recipes = parse_recipes(yaml, "r.yml");
  if (!recipes) return recipes.error().sentence;
  std::string names;
  for (const Recipe& recipe : *recipes) names += recipe.name + ";";
  return names;
}

std::string document(const std::string& name, const std::string& model) {
  return (name.empty() ? std::string() : "name: " + name + "\n") +
         "merge_method: passthrough\nmodels: [{model: " + model + "}]\n---\n";
}

TEST(Recipes, ComeAfterThoseTheyName) {
  EXPECT_EQ(order(document("", "b") + document("b", "a") + document("c", "x") + document("a", "y")),
            "c;a;b;;");
}

TEST(Recipes, MarkTheReferencesThatAreDocuments) {
  const auto recipes = parse_recipes(document("a", "x") + document("", "a@v1"), "r.yml");
  ASSERT_TRUE(recipes) << recipes.error().sentence;
  EXPECT_FALSE((*recipes)[0].slices[0].sources[0].model.document);
  EXPECT_TRUE((*recipes)[1].slices[0].sources[0].model.document);
}

TEST(Recipes, KeepTheTextOfEach) {
  const std::string first = "# first\n" + document("a", "x"), second = document("", "a");
  const auto recipes = parse_recipes(first + second, "r.yml");
  ASSERT_TRUE(recipes);
  EXPECT_EQ((*recipes)[0].text + (*recipes)[1].text, first + second);
  EXPECT_EQ((*recipes)[1].line, 5);
  EXPECT_TRUE(parse((*recipes)[1].text));
}

TEST(Recipes, RefuseCirclesAndNamesTakenOrMissing) {
  EXPECT_THAT(order(document("a", "b") + document("b", "c") + document("c", "b")),
              HasSubstr("line 7: \"b\" is made from \"c\", which is made from it in turn"));
  EXPECT_THAT(order(document("a", "a") + document("", "x")), HasSubstr("made from itself"));
  EXPECT_THAT(
      order(document("", "a") + document("a", "x") + document("b", "c") + document("c", "b")),
      HasSubstr("break the circle"));
  EXPECT_THAT(order(document("a", "x") + document("a", "y")), HasSubstr("is taken"));
  EXPECT_THAT(order(document("", "x") + document("", "y")),
              HasSubstr("a second document without a name"));
  EXPECT_THAT(order(document("../a", "x")), HasSubstr("name of a folder"));
}

TEST(Recipes, AreToldApartByKind) {
  EXPECT_EQ(recipe_kind(kTwoModels), RecipeKind::kMerge);
  EXPECT_EQ(recipe_kind(document("a", "x") + document("", "a")), RecipeKind::kMulti);
  EXPECT_EQ(recipe_kind("base_model: a\nexperts: []\n"), RecipeKind::kMoe);
  EXPECT_EQ(recipe_kind("genome: {models: [a]}\n"), RecipeKind::kEvolve);
  EXPECT_FALSE(recipe_kind("a: ["));
}

// ---- mixtures of experts

std::string mixture_refusal(const std::string& yaml) {
  const auto recipe = parse_moe_recipe(yaml, "r.yml");
  return recipe ? "accepted" : recipe.error().sentence;
}

TEST(MoeRecipe, ReadsExpertsAndTheirRouter) {
  const auto recipe = parse_moe_recipe(
      "base_model: org/base\ngate_mode: cheap_embed\ndtype: bfloat16\nexperts_per_token: 1\n"
      "architecture: Qwen3 MoE\nexperts:\n"
      "- {source_model: a@v1, positive_prompts: [x, 1], noise_scale: 0.1}\n"
      "- {source_model: b, positive_prompts: [y], negative_prompts: [z], residual_scale: 2}\n"
      "shared_experts:\n- {source_model: c, positive_prompts: [w]}\nhieron: {seed: 7}\n",
      "r.yml");
  ASSERT_TRUE(recipe) << recipe.error().sentence;
  EXPECT_EQ(recipe->gate_mode, GateMode::kCheapEmbed);
  EXPECT_EQ(recipe->architecture, "qwen3");
  EXPECT_EQ(recipe->experts_per_token, 1u);
  ASSERT_EQ(recipe->experts.size(), 2u);
  EXPECT_EQ(recipe->experts[0].source.revision, "v1");
  EXPECT_EQ(recipe->experts[0].positive_prompts, (std::vector<std::string>{"x", "1"}));
  EXPECT_EQ(recipe->experts[0].noise_scale, 0.1);
  EXPECT_EQ(recipe->experts[1].residual_scale, 2);
  EXPECT_EQ(recipe->shared_experts.size(), 1u);
  EXPECT_EQ(recipe->seed_number, 7u);
}

TEST(MoeRecipe, NeedsPromptsOnlyForARouterMadeFromThem) {
  const std::string experts = "base_model: b\nexperts: [{source_model: a}, {source_model: c}]\n";
  EXPECT_EQ(mixture_refusal(experts + "gate_mode: random\n"), "accepted");
  EXPECT_EQ(mixture_refusal(experts + "gate_mode: uniform_random\n"), "accepted");
  EXPECT_THAT(mixture_refusal(experts + "gate_mode: cheap_embed\n"), HasSubstr("positive_prompts"));
  EXPECT_THAT(mixture_refusal(experts + "gate_mode: cheap_embd\n"),
              HasSubstr("did you mean \"cheap_embed\"?"));
}

TEST(MoeRecipe, CountsItsExperts) {
  EXPECT_THAT(mixture_refusal("base_model: b\ngate_mode: random\nexperts: [{source_model: a}]\n"),
              HasSubstr("2 experts a token are more than the 1 there is"));
}

// Recipes of real users: the first line of each, `# expected: …`, says what must become of it.
TEST(Recipes, OfUsersAreReadOrRefusedForTheRightReason) {
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
    std::string expected = first.substr(prefix.size());
    const std::string became = fate(rest.str());
    if (expected.starts_with("accepted")) {
      EXPECT_TRUE(became.starts_with("accepted")) << entry.path().filename() << ": " << became;
      expected.erase(0, std::min(expected.size(), std::string("accepted: ").size()));
    }
    EXPECT_THAT(became, HasSubstr(expected)) << entry.path().filename();
    ++seen;
  }
  EXPECT_GE(seen, 35u);
}

TEST(Recipe, ADraftGoesOnBehindKeysThatStandTwice) {
  const std::string yaml =
      "merge_method: linear\nmodels:\n- model: a\n  model: b\n  parameters: {weight: 1}\n"
      "dtype: float32\ndtype: bfloat61\n";
  const RecipeDraft draft = draft_recipes(yaml, "r.yml");
  ASSERT_EQ(draft.problems.size(), 2u);
  EXPECT_EQ(draft.problems[0].offset, 4u);
  EXPECT_EQ(draft.problems[1].offset, 7u);
  EXPECT_THAT(draft.problems[1].sentence, HasSubstr("\"dtype\" stands twice"));
  ASSERT_EQ(draft.recipes.size(), 1u);
  EXPECT_EQ(draft.recipes[0].slices[0].sources[0].model.text, "a");
  const auto parsed = parse_recipes(yaml, "r.yml");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().sentence, draft.problems[0].sentence);
  EXPECT_EQ(parsed.error().also, 1);
}

}  // namespace
}  // namespace hieron
