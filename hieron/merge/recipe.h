// A recipe as the user wrote it: mergekit's YAML, checked and given line numbers. No model is
// opened here.
//
// The language is described in docs/recipes.md. What a merge makes of a recipe is the Plan
// (plan.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"

namespace hieron {

// One value of a parameter, for the tensors whose name contains `filter` (empty: all). One number
// holds everywhere; several are a gradient over depth. Text parameters have texts, all others
// values; never both.
struct ParameterRule {
  std::string filter;
  std::vector<double> values;
  int line = 0;
  bool steps = false;  // several values are steps over depth, not interpolated: truth, text
  std::vector<std::string> texts;
};

// A parameter at one level of the recipe. The first rule that matches a tensor holds.
struct ParameterSetting {
  std::string name;
  std::vector<ParameterRule> rules;
  int line = 0;
};

// The value for a tensor at depth t in [0, 1]; nothing if no rule matches it.
std::optional<double> evaluate(const ParameterSetting& setting, std::string_view tensor, double t);
std::optional<std::string> evaluate_text(const ParameterSetting& setting, std::string_view tensor,
                                         double t);

// `path[@revision][+adapter[@revision]]`, or the same as a mapping.
struct ModelRef {
  std::string text;  // as written; of a mapping, the same in one line
  std::string path;
  std::string revision;
  std::string adapter;
  int line = 0;
  std::string adapter_revision;
  std::string override_architecture;  // of a mapping; no effect on names that match
  bool document = false;              // `path` is the name of another document of this file
};

// The same model in the same words: "//a", "/a/" and "/a" are one path, "./a" and "a" too. (Links
// are for the plan to see.)
bool same_model(const ModelRef& a, const ModelRef& b);

struct RecipeSource {
  ModelRef model;
  std::optional<std::pair<uint64_t, uint64_t>> layers;  // [first, last), of this model
  std::vector<ParameterSetting> parameters;
  int line = 0;
};

struct RecipeSlice {
  std::vector<RecipeSource> sources;  // in input order
  std::optional<ModelRef> base_model;
  std::vector<ParameterSetting> parameters;
  int line = 0;
};

// One part of a model of several parts (a vision tower, an encoder). Its parameters are already
// appended to those of each of its slices, behind which they stand.
struct RecipeModule {
  std::string name;
  bool by_slices = false;
  std::vector<RecipeSlice> slices;  // as Recipe::slices
  std::vector<ParameterSetting> parameters;
  int line = 0;
};

// Where the row of one token of the merged vocabulary comes from.
struct RecipeToken {
  enum class From : uint8_t {
    kDefault,     // as for tokens without a rule: its own row, or that of a model that has it
    kModel,       // the row of the same token in `model`
    kModelToken,  // the row of `other`, or of the id, in `model`
    kZero,
  };
  std::string token;
  From from = From::kDefault;
  ModelRef model;
  std::string other;
  std::optional<uint64_t> id;
  bool force = false;  // also in models that have a row of their own
  int line = 0;
};

// `tokenizer_source` or `tokenizer`: the vocabulary of the result.
struct RecipeTokenizer {
  enum class Source : uint8_t { kUnion, kBase, kModel };
  Source source = Source::kUnion;
  ModelRef model;                   // Source::kModel
  std::vector<RecipeToken> tokens;  // in file order, each token once
  std::optional<uint64_t> pad_to_multiple_of;
  int line = 0;
};

// How expert tensors are written, whatever the inputs have.
enum class ExpertLayout : uint8_t {
  kSeparate,  // experts.N.gate_proj.weight …
  kFused,     // experts.gate_up_proj [E, 2I, H], experts.down_proj [E, H, I]
};

struct RecipeWarning {
  std::string sentence;
  int line = 0;
  std::string key = {};    // if it is about a key without effect: that key …
  std::string meant = {};  // … and the one that it is nearly, if any
};

struct Recipe {
  std::string file;    // for messages, and the folder that relative paths start from
  std::string text;    // as given; of several documents, this one
  std::string method;  // of the registry
  int method_line = 0;
  bool by_slices = false;           // `slices:`, not `models:` (which is one slice of all layers)
  std::vector<RecipeSlice> slices;  // of a single module too; empty if there are several
  std::vector<ParameterSetting> parameters;  // for all
  std::optional<ModelRef> base_model;
  std::optional<DType> dtype, out_dtype;
  std::optional<std::string> arithmetic;  // hieron.arithmetic
  std::optional<std::string> seed;        // hieron.seed, as written
  std::optional<uint64_t> seed_number;    // the same, parsed
  std::optional<unsigned> threads;        // hieron.threads
  std::vector<RecipeWarning> warnings;

  std::vector<RecipeModule> modules;  // `modules:`, in file order; mergekit calls a single one
                                      // "default"
  std::string name;                   // of one document among several; empty: the last result
  int line = 0;                       // where the document begins
  std::optional<RecipeTokenizer> tokenizer;
  std::optional<std::string> chat_template;  // "auto", a built-in name, or the template itself
  int chat_template_line = 0;
  std::optional<ExpertLayout> experts;  // hieron.experts
};

// What a YAML file is a recipe for.
enum class RecipeKind : uint8_t {
  kMerge,
  kMulti,   // several merges that may name one another (mergekit-multi)
  kMoe,     // experts out of dense models (mergekit-moe)
  kEvolve,  // a search (mergekit-evolve); not done here
};
Result<RecipeKind> recipe_kind(std::string_view yaml, const std::string& file = "recipe");

// Parses and checks one YAML document. `file` is for messages; `arithmetic` is the command line's,
// over the recipe's own (under mergekit-* a misspelt key is a warning, as mergekit ignores it; else
// it is refused). The first problem is the error; Error.offset is its line, Error.also how many
// more there are.
Result<Recipe> parse_recipe(std::string_view yaml, const std::string& file,
                            std::string_view arithmetic = {});

// Parses one document or several. Each comes after those it names, else in file order; all but one
// have a name, and the one without is the last. Refused: a cycle, a name twice, a second document
// without a name.
Result<std::vector<Recipe>> parse_recipes(std::string_view yaml, const std::string& file,
                                          std::string_view arithmetic = {});

// A file read to its end whatever is wrong with it.
struct RecipeDraft {
  std::vector<Recipe> recipes;  // what parse_recipes returns if there are no problems; else as much
                                // as can be understood, in file order
  std::vector<Error> problems;  // by line
};
RecipeDraft draft_recipes(std::string_view yaml, const std::string& file,
                          std::string_view arithmetic = {});

// Reads a file and parses it.
Result<Recipe> read_recipe(const std::string& path, std::string_view arithmetic = {});
Result<std::vector<Recipe>> read_recipes(const std::string& path, std::string_view arithmetic = {});

// One expert of a mixture: the MLPs of `source`, and what its router looks for.
struct MoeExpert {
  ModelRef source;
  std::vector<std::string> positive_prompts, negative_prompts;
  std::optional<double> noise_scale;     // standard deviation of noise added to the MLPs
  std::optional<double> residual_scale;  // factor of down_proj
  int line = 0;
};

enum class GateMode : uint8_t {
  kHidden,         // hidden states of the prompts: needs forward passes
  kHiddenAverage,  //
  kHiddenLast,     //
  kCheapEmbed,     // embeddings of the prompts' tokens
  kRandom,         // standard normal
  kUniformRandom,  // uniform in ±1/√hidden_size
};

// mergekit-moe's configuration.
struct MoeRecipe {
  std::string file, text;
  ModelRef base_model;
  GateMode gate_mode = GateMode::kHidden;
  std::string gate_mode_name = "hidden";
  int gate_mode_line = 0;
  std::optional<DType> dtype;
  std::vector<MoeExpert> experts, shared_experts;
  uint64_t experts_per_token = 2;
  std::string architecture;  // "mixtral", "deepseek", "qwen", "qwen3"; empty: by the models
  int architecture_line = 0;
  std::optional<std::string> arithmetic, seed;  // the hieron mapping, as in Recipe
  std::optional<uint64_t> seed_number;
  std::optional<unsigned> threads;
  std::optional<ExpertLayout> expert_layout;
  std::vector<RecipeWarning> warnings;
};

struct MoeDraft {
  MoeRecipe recipe;             // as much as can be understood
  std::vector<Error> problems;  // by line
};
MoeDraft draft_moe_recipe(std::string_view yaml, const std::string& file);
Result<MoeRecipe> parse_moe_recipe(std::string_view yaml, const std::string& file);
Result<MoeRecipe> read_moe_recipe(const std::string& path);

// A seed of random masks: a whole number below 2^64, in decimal or as 0x….
std::optional<uint64_t> parse_seed(std::string_view text);

// Does a REF name a recipe? (.yml or .yaml, and a regular file)
bool is_recipe(const std::string& ref);

}  // namespace hieron
