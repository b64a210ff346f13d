#include "hieron/merge/vocabulary.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

std::string config(uint64_t rows, const std::string& more = {}) {
  return fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "vocab_size": {}{}}})", rows,
                     more);
}

std::string tokenizer_json(const std::vector<std::string>& words) {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (const std::string& word : words) vocabulary[word] = vocabulary.size();
  return nlohmann::json{{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {}}}}}.dump();
}

class Vocabulary : public testing::Test {
 protected:
  // FOLDER/NAME with these words, an embedding of a row for each (of 2 elements) and a head.
  void write(const std::string& name, const std::vector<std::string>& words, double start,
             DType dtype = DType::kF32, bool tied = false, uint64_t width = 2) {
    const auto count = [start](size_t i) { return start + static_cast<double>(i); };
    std::vector<ScratchTensor> tensors{{kEmbedding, dtype, {words.size(), width}, count}};
    if (!tied) tensors.push_back({kHead, dtype, {words.size(), width}, count});
    write_model(folder_, name, tensors,
                config(words.size(), tied ? R"(, "tie_word_embeddings": true, "eos_token_id": 0)"
                                          : R"(, "eos_token_id": 0)"));
    folder_.write(name + "/tokenizer.json", tokenizer_json(words));
  }

  // The models of a recipe opened as a plan opens them, and their vocabularies merged.
  Result<MergedVocabulary> merge(const std::string& more, const VocabularyOptions& options = {},
                                 const std::string& method = "linear") {
    const std::string models =
        more.starts_with("slices:") ? "" : "models: [{model: a}, {model: b}]\n";
    const std::string yaml =
        fmt::format("merge_method: {}\nparameters: {{weight: 0.5}}\n{}{}", method, models, more);
    const std::string file = folder_.write("recipe.yml", yaml);
    auto recipe = parse_recipe(yaml, file, "");
    if (!recipe) return std::unexpected(recipe.error());
    models_.emplace(file);
    for (const RecipeSlice& slice : recipe->slices) {
      for (const RecipeSource& source : slice.sources) EXPECT_TRUE(models_->open(source.model));
    }
    return merge_vocabularies(*recipe, *models_, options);
  }

  MergedVocabulary must_merge(const std::string& more, const VocabularyOptions& options = {}) {
    auto merged = merge(more, options);
    EXPECT_TRUE(merged) << merged.error().sentence;
    return std::move(merged).value();
  }
  std::string refusal(const std::string& more) {
    const auto merged = merge(more);
    return merged ? "" : merged.error().sentence;
  }

  static std::vector<double> values(const Checkpoint& checkpoint, std::string_view name) {
    const TensorInfo* tensor = checkpoint.find(name);
    if (!tensor) return {};
    std::vector<std::byte> stored(tensor->bytes());
    EXPECT_TRUE(read_elements(checkpoint, *tensor, 0, stored));
    std::vector<double> out(tensor->elements);
    decode(tensor->dtype, stored.data(), std::span(out));
    return out;
  }

  ScratchFolder folder_;
  std::optional<RecipeModels> models_;
};

TEST_F(Vocabulary, WithoutARuleNothingIsChanged) {
  write("a", {"x"}, 1);
  write("b", {"x", "y"}, 2);
  const auto merged = must_merge("");
  for (size_t m = 0; m < 2; ++m) EXPECT_EQ(merged.checkpoints[m], models_->all()[m].checkpoint);
  EXPECT_THAT(merged.files, IsEmpty());
  EXPECT_EQ(merged.rows, std::nullopt);
}

TEST_F(Vocabulary, AUnionGivesAllModelsTheSameRows) {
  write("a", {"x"}, 10);
  write("b", {"y", "x"}, 20);
  const auto merged = must_merge("tokenizer_source: union\n");
  EXPECT_EQ(merged.rows, 2u);
  EXPECT_THAT(values(*merged.checkpoints[0], kEmbedding), ElementsAre(10, 11, 20, 21));
  EXPECT_THAT(values(*merged.checkpoints[1], kHead), ElementsAre(22, 23, 20, 21));
}

TEST_F(Vocabulary, NothingIsCastBeforeAnExactMerge) {
  write("a", {"x", "y"}, 1025.125);
  write("b", {"y", "x"}, 1);
  const std::string recipe = "tokenizer_source: base\ndtype: bfloat16\n";
  EXPECT_EQ(must_merge(recipe).checkpoints[1]->find(kEmbedding)->dtype, DType::kF32);
  EXPECT_EQ(must_merge(recipe, {.replay = mergekit::Version::k015})
                .checkpoints[1]
                ->find(kEmbedding)
                ->dtype,
            DType::kBF16);
}

TEST_F(Vocabulary, OnlyABaseModelThatIsNamedIsPreferred) {
  write("a", {"x"}, 10);
  write("b", {"x"}, 20);
  const std::string forced = "tokenizer: {tokens: {x: {force: true}}}\n";
  EXPECT_THAT(values(*must_merge(forced).checkpoints[1], kHead), ElementsAre(15, 16));
  EXPECT_THAT(values(*must_merge(forced + "base_model: a\n").checkpoints[1], kHead),
              ElementsAre(10, 11));
}

TEST_F(Vocabulary, ASourceMayBeATokenizerWithoutWeights) {
  write("a", {"x", "y"}, 10);
  write("b", {"x", "y"}, 20);
  std::filesystem::create_directories(folder_.path("t"));
  folder_.write("t/tokenizer.json", tokenizer_json({"y", "x"}));
  const auto merged = must_merge("tokenizer_source: t\n");
  EXPECT_EQ(merged.checkpoints.size(), 2u);
  EXPECT_THAT(values(*merged.checkpoints[0], kEmbedding), ElementsAre(12, 13, 10, 11));
}

TEST_F(Vocabulary, ASourceOfAnotherWidthLendsItsTokenizerAndNoRows) {
  write("a", {"x", "y"}, 10);
  write("b", {"x", "y"}, 20);
  write("large", {"y", "x", "z"}, 30, DType::kF32, false, 4);
  const auto merged = must_merge("tokenizer_source: large\n");
  EXPECT_THAT(values(*merged.checkpoints[0], kEmbedding), ElementsAre(12, 13, 10, 11, 0, 0));
  EXPECT_THAT(merged.warnings, Contains(HasSubstr("(\"z\") is in no model that is merged")));
}

TEST_F(Vocabulary, ARefusedTokenHasItsLine) {
  write("a", {"x"}, 1);
  write("b", {"x"}, 2);
  EXPECT_THAT(refusal("tokenizer:\n  tokens:\n    x: {force: true}\n    q: {source: a}\n"),
              HasSubstr("recipe.yml, line 7: the token \"q\" is not in the tokenizer of a"));
}

TEST_F(Vocabulary, TokenIdsInTheConfigsFollowAnothersTokenizer) {
  write("a", {"x", "y"}, 1);
  write("b", {"y", "x"}, 2);
  folder_.write("a/generation_config.json", "{\"eos_token_id\": [0, 1]}\n");
  const auto merged = must_merge("tokenizer_source: b\n");
  EXPECT_THAT(merged.checkpoints[0]->config_json, HasSubstr("\"eos_token_id\": 1"));
  ASSERT_EQ(merged.files.back().name, "generation_config.json");
  EXPECT_EQ(merged.files.back().text, "{\"eos_token_id\": [1, 0]}\n");
}

TEST_F(Vocabulary, AReplayLeavesTokenIdsAndSaysSo) {
  write("a", {"x", "y"}, 1);
  write("b", {"y", "x"}, 2);
  const auto merged = must_merge("tokenizer_source: b\n", {.replay = mergekit::Version::k015});
  EXPECT_THAT(merged.checkpoints[0]->config_json, HasSubstr("\"eos_token_id\": 0"));
  EXPECT_THAT(merged.warnings, Contains(HasSubstr("as mergekit leaves them")));
}

TEST_F(Vocabulary, ATokenIdWithoutItsTokenIsAWarning) {
  write("a", {"x", "y"}, 1);
  write("b", {"y"}, 2);
  EXPECT_THAT(must_merge("tokenizer_source: b\n").warnings,
              Contains(HasSubstr("eos_token_id (0, \"x\") is a token of a, which the result's")));
}

TEST_F(Vocabulary, ATiedModelsHeadIsItsEmbeddingWhereOthersHaveAHead) {
  write("a", {"x"}, 10, DType::kF32, true);
  write("b", {"x"}, 20);
  const auto merged = must_merge("");
  EXPECT_THAT(values(*merged.checkpoints[0], kHead), ElementsAre(10, 11));
  EXPECT_THAT(merged.checkpoints[0]->config_json, HasSubstr("\"tie_word_embeddings\": false"));
}

TEST_F(Vocabulary, TiedModelsAmongThemselvesStayTied) {
  write("a", {"x"}, 10, DType::kF32, true);
  write("b", {"x"}, 20, DType::kF32, true);
  const auto merged = must_merge("tokenizer_source: union\n");
  EXPECT_THAT(values(*merged.checkpoints[0], kHead), IsEmpty());
  EXPECT_THAT(merged.checkpoints[0]->config_json, HasSubstr("\"tie_word_embeddings\": true"));
}

TEST_F(Vocabulary, AVocabularyThatIsNotReadIsRefusedOnlyWhereItIsNeeded) {
  write("a", {"x"}, 1);
  write("b", {"x"}, 2);
  std::filesystem::remove(folder_.path("b/tokenizer.json"));
  folder_.write("b/tokenizer.model", "\x0a");
  EXPECT_THAT(refusal("tokenizer_source: union\n"), HasSubstr("let transformers write one"));
  EXPECT_EQ(refusal("chat_template: chatml\n"), "");
}

TEST_F(Vocabulary, TheChatTemplateGoesIntoTheDonorsFiles) {
  write("a", {"x"}, 1);
  write("b", {"x"}, 2);
  folder_.write("b/chat_template.jinja", "{{ the only one }}");
  const auto merged = must_merge("chat_template: auto\n");
  ASSERT_EQ(merged.files.size(), 2u);
  EXPECT_EQ(merged.files[0].text, folder_.read("a/tokenizer.json"));
  EXPECT_THAT(merged.files[1].text, HasSubstr("{{ the only one }}"));
}

TEST_F(Vocabulary, AutoWithoutAnyTemplateIsAWarning) {
  write("a", {"x"}, 1);
  write("b", {"x"}, 2);
  const auto merged = must_merge("chat_template: auto\n");
  EXPECT_THAT(merged.files, IsEmpty());
  EXPECT_THAT(merged.warnings, ElementsAre(HasSubstr("line 4: chat_template is auto, but")));
}

TEST_F(Vocabulary, WithoutARuleVocabulariesAreCutOnlyIfAsked) {
  write("a", {"x", "y"}, 10);
  write("b", {"x"}, 20);
  EXPECT_THAT(values(*must_merge("", {.replay = {}, .truncate = true}).checkpoints[0], kHead),
              ElementsAre(10, 11));
  EXPECT_THAT(values(*must_merge("", {.replay = mergekit::Version::k014}).checkpoints[0], kHead),
              ElementsAre(10, 11));
  EXPECT_EQ(values(*must_merge("", {.replay = mergekit::Version::k015}).checkpoints[0], kHead),
            values(*must_merge("").checkpoints[0], kHead));
}

TEST_F(Vocabulary, AReplayCutsWhereMergekit014Can) {
  write("a", {"x", "y"}, 10);
  write("b", {"x"}, 20);
  const auto refusal_of = [&](const std::string& method, const std::string& base) {
    const uint32_t donor = base == "b" ? 1 : 0;
    const auto merged =
        merge("base_model: " + base + "\n",
              {.replay = mergekit::Version::k014, .truncate = false, .donor = donor}, method);
    return merged ? "" : merged.error().sentence;
  };
  EXPECT_EQ(refusal_of("model_stock", "a"), "");
  EXPECT_THAT(refusal_of("sce", "a"), HasSubstr("sce needs equally large vocabularies"));
  EXPECT_THAT(refusal_of("ties", "a"), HasSubstr("ties needs a base with the smallest vocabulary"));
  EXPECT_EQ(refusal_of("ties", "b"), "");
}

constexpr const char* kStack =
    "slices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
    "- sources: [{model: b, layer_range: [0, 1]}]\n";

TEST_F(Vocabulary, AStackOfEmbeddingAndHeadOfDifferentHeightIsRefused) {
  write("a", {"x", "y"}, 10);
  write("b", {"x"}, 20);
  const auto exact = merge(kStack, {}, "passthrough");
  ASSERT_FALSE(exact);
  EXPECT_THAT(exact.error().sentence,
              HasSubstr("the embedding of \"a\" has 2 rows and the head of \"b\" has 1"));
  EXPECT_TRUE(merge(kStack + std::string("tokenizer_source: union\n"), {}, "passthrough"));
  const auto replayed = merge(kStack, {.replay = mergekit::Version::k015}, "passthrough");
  ASSERT_TRUE(replayed);
  EXPECT_THAT(replayed->warnings, Contains(HasSubstr("no program opens such a model")));
}

TEST_F(Vocabulary, AReplayedStackTakesRowsOfItsOwnSliceOnly) {
  write("a", {"x", "y"}, 10);
  write("b", {"x", "z"}, 20);
  const std::string recipe = kStack + std::string("tokenizer_source: union\n");
  auto rows = [&](const VocabularyOptions& options, std::string_view tensor, size_t model) {
    return values(*merge(recipe, options, "passthrough")->checkpoints[model], tensor);
  };
  EXPECT_THAT(rows({}, kEmbedding, 0), ElementsAre(10, 11, 12, 13, 22, 23));
  EXPECT_THAT(rows({.replay = mergekit::Version::k015}, kEmbedding, 0),
              ElementsAre(10, 11, 12, 13, 0, 0));
  EXPECT_THAT(rows({.replay = mergekit::Version::k015}, kHead, 1),
              ElementsAre(20, 21, 0, 0, 22, 23));
}

}  // namespace
}  // namespace hieron
