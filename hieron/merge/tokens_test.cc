#include "hieron/merge/tokens.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "hieron/kernels/decode.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using mergekit::Version;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Source = TokenizerWish::Source;
using From = TokenRule::From;

// A BPE tokenizer: words of `vocabulary` have the ids 0, 1, …, those of `added` the next.
std::shared_ptr<const Tokenizer> words(const std::vector<std::string>& vocabulary,
                                       const std::vector<std::string>& added = {},
                                       const std::string& kind = "BPE") {
  std::string ids, list;
  for (const std::string& word : vocabulary) {
    ids += fmt::format("{}\"{}\": {}", ids.empty() ? "" : ", ", word, &word - vocabulary.data());
  }
  size_t id = vocabulary.size();
  for (const std::string& word : added) {
    list += fmt::format(R"({}{{"id": {}, "content": "{}", "special": true, "normalized": false}})",
                        list.empty() ? "" : ", ", id++, word);
  }
  const std::string json = fmt::format(
      R"({{"added_tokens": [{}], "model": {{"type": "{}", "vocab": {{{}}}}}}})", list, kind, ids);
  const auto tokenizer = parse_tokenizer({{"tokenizer.json", json}}, "folder");
  EXPECT_TRUE(tokenizer) << tokenizer.error().sentence;
  return *tokenizer;
}

// A model with a row for each token, or `rows`.
TokenModel model(const std::string& name, std::shared_ptr<const Tokenizer> tokenizer,
                 uint64_t rows = 0) {
  if (rows == 0) rows = tokenizer->tokens().size();
  return {.name = name, .tokenizer = std::move(tokenizer), .vocab_size = rows, .rows = rows};
}

TokenModel only_lends(TokenModel model) {
  model.merged = model.lends = false;
  return model;
}

TokenRule rule(const std::string& token, From from, size_t of = 0) {
  TokenRule made;
  made.token = token;
  made.from = from;
  made.model = of;
  return made;
}

TokenizerWish wish(Source source, std::vector<TokenRule> rules = {}) {
  TokenizerWish made;
  made.source = source;
  made.rules = std::move(rules);
  return made;
}

TokenOptions preferring(size_t base) {
  TokenOptions options;
  options.preferred = base;
  return options;
}
TokenOptions replaying(Version version) {
  return {.replay = version, .keep_padding = false, .preferred = 0};
}

TokenPlan must_plan(const TokenizerWish& wish, const std::vector<TokenModel>& models,
                    const TokenOptions& options = {}) {
  auto plan = plan_tokens(wish, models, 0, options);
  EXPECT_TRUE(plan) << plan.error().sentence;
  return plan ? *std::move(plan) : TokenPlan();
}

std::string refusal(const TokenizerWish& wish, const std::vector<TokenModel>& models,
                    const TokenOptions& options = {}) {
  const auto plan = plan_tokens(wish, models, 0, options);
  return plan ? "" : plan.error().sentence;
}

// Where each row of a model comes from: "m0[3]" a row, "mean(m0[1] m1[2])", "zero", "average".
std::vector<std::string> rows_of(const TokenPlan& plan, size_t m) {
  std::vector<std::string> rows;
  for (const RowRun& run : plan.models[m]) {
    EXPECT_EQ(run.first, rows.size());
    for (uint64_t i = 0; i < run.count; ++i) {
      std::string text = run.from == RowFrom::kZero ? "zero" : "average";
      if (run.from == RowFrom::kRow) text = fmt::format("m{}[{}]", run.model, run.row + i);
      if (run.from == RowFrom::kMean) {
        text = "mean(";
        for (const ModelRow& row : plan.means[run.row + i]) {
          text += fmt::format("{}m{}[{}]", text.back() == '(' ? "" : " ", row.model, row.row);
        }
        text += ")";
      }
      rows.push_back(std::move(text));
    }
  }
  EXPECT_EQ(rows.size(), plan.rows);
  return rows;
}

// ---- which row a token gets

TEST(TokenRows, AModelThatHasTheTokenContributesItsOwnRow) {
  const auto plan = must_plan(wish(Source::kBase), {model("m0", words({"a", "b", "c"})),
                                                    model("m1", words({"c", "a", "b"}))});
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m0[1]", "m0[2]"));
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[1]", "m1[2]", "m1[0]"));
  EXPECT_TRUE(plan.unchanged(0));
  EXPECT_FALSE(plan.unchanged(1));
}

TEST(TokenRows, AModelWithoutTheTokenTakesTheRowOfTheOnlyOneThatHasIt) {
  const auto plan = must_plan(wish(Source::kUnion), {model("m0", words({"a", "b"})),
                                                     model("m1", words({"a", "b"}, {"<t>"}))});
  EXPECT_EQ(plan.id("<t>"), 2u);
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m0[1]", "m1[2]"));
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "m1[1]", "m1[2]"));
  EXPECT_THAT(plan.warnings,
              ElementsAre("1 token (\"<t>\") is in m1 only; the other models take its rows."));
}

TEST(TokenRows, OfSeveralHoldersTheBaseModelLends) {
  const std::vector<TokenModel> models{model("m0", words({"a", "b"})), model("m1", words({"a"})),
                                       model("m2", words({"b", "a"}))};
  EXPECT_THAT(rows_of(must_plan(wish(Source::kUnion), models, preferring(2)), 1),
              ElementsAre("m1[0]", "m2[0]"));
}

TEST(TokenRows, WithoutABaseModelTheHoldersMeanStandsIn) {
  const std::vector<TokenModel> models{model("m0", words({"a", "b"})), model("m1", words({"a"})),
                                       model("m2", words({"b", "a"}))};
  const auto plan = must_plan(wish(Source::kUnion), models);
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "mean(m0[1] m2[0])"));
  EXPECT_THAT(plan.warnings, Contains(HasSubstr("neither in all nor in the base_model")));
}

TEST(TokenRows, ABaseModelWithoutTheTokenLendsNothing) {
  const std::vector<TokenModel> models{model("m0", words({"a"})), model("m1", words({"a", "b"})),
                                       model("m2", words({"b", "a"}))};
  EXPECT_THAT(rows_of(must_plan(wish(Source::kUnion), models, preferring(0)), 0),
              ElementsAre("m0[0]", "mean(m1[1] m2[0])"));
}

TEST(TokenRows, AModelThatIsNotMergedLendsWhatNoMergedOneHas) {
  TokenizerWish wanted = wish(Source::kModel);
  wanted.model = 1;
  const auto plan =
      must_plan(wanted, {model("m0", words({"a"})), only_lends(model("m1", words({"a", "b"})))});
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m1[1]"));
}

TEST(TokenRows, ATokenThatNoModelHasIsZeroAndSaidToBe) {
  TokenizerWish wanted = wish(Source::kModel);
  wanted.model = 1;
  TokenModel tokenizer_alone = only_lends(model("m1", words({"a", "b"})));
  tokenizer_alone.rows = 0;
  const auto plan = must_plan(wanted, {model("m0", words({"a"})), tokenizer_alone});
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "zero"));
  EXPECT_THAT(plan.warnings, Contains(HasSubstr("(\"b\") is in no model that is merged")));
}

// ---- the recipe's rules

TEST(TokenRules, ASourceStandsInForModelsWithoutTheToken) {
  const std::vector<TokenModel> models{model("m0", words({"a", "b"})), model("m1", words({"b"}))};
  TokenRule other = rule("b", From::kModelToken, 0);
  other.other = "a";
  EXPECT_THAT(rows_of(must_plan(wish(Source::kUnion, {rule("a", From::kZero), other}), models), 1),
              ElementsAre("zero", "m1[0]"));
  TokenRule by_id = rule("a", From::kModelToken, 0);
  by_id.id = 1;
  EXPECT_THAT(rows_of(must_plan(wish(Source::kUnion, {by_id}), models), 1),
              ElementsAre("m0[1]", "m1[0]"));
  EXPECT_THAT(rows_of(must_plan(wish(Source::kUnion, {rule("a", From::kModel, 0)}), models), 1),
              ElementsAre("m0[0]", "m1[0]"));
}

TEST(TokenRules, ForceOverridesAModelsOwnRow) {
  TokenRule forced = rule("a", From::kModel, 1);
  forced.force = true;
  const auto plan = must_plan(wish(Source::kBase, {forced}),
                              {model("m0", words({"a", "b"})), model("m1", words({"b", "a"}))});
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m1[1]", "m0[1]"));
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[1]", "m1[0]"));
}

TEST(TokenRules, ForceWithoutASourceGivesAllTheMeanOrTheBaseModelsRow) {
  TokenRule forced = rule("a", From::kDefault);
  forced.force = true;
  const std::vector<TokenModel> models{model("m0", words({"a"})), model("m1", words({"a"}))};
  EXPECT_THAT(rows_of(must_plan(wish(Source::kBase, {forced}), models), 1),
              ElementsAre("mean(m0[0] m1[0])"));
  EXPECT_THAT(rows_of(must_plan(wish(Source::kBase, {forced}), models, preferring(0)), 1),
              ElementsAre("m0[0]"));
}

TEST(TokenRules, ARuleAddsATokenThatNoTokenizerHas) {
  TokenRule alias = rule("<new>", From::kModelToken, 0);
  alias.other = "a";
  const auto plan = must_plan(wish(Source::kBase, {alias}), {model("m0", words({"a", "b"}))});
  EXPECT_EQ(plan.id("<new>"), 2u);
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m0[1]", "m0[0]"));
}

TEST(TokenRules, WarnsOfASourceThatNoModelNeeds) {
  const auto plan = must_plan(wish(Source::kBase, {rule("a", From::kZero)}),
                              {model("m0", words({"a"})), model("m1", words({"a"}))});
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("has no effect (force: true")));
}

TEST(TokenRules, RefusesRowsThatAreNotThere) {
  const std::vector<TokenModel> models{model("m0", words({"a"})), model("m1", words({"b"}))};
  TokenRule late = rule("a", From::kModelToken, 1);
  late.id = 1;
  EXPECT_THAT(refusal(wish(Source::kUnion, {late}), models),
              HasSubstr("cannot take row 1 of m1, which has 1 rows"));
  EXPECT_THAT(refusal(wish(Source::kUnion, {rule("a", From::kModel, 1)}), models),
              HasSubstr("the token \"a\" is not in the tokenizer of m1"));
  EXPECT_THAT(refusal(wish(Source::kUnion, {rule("", From::kZero)}), models),
              HasSubstr("a token cannot be empty"));
  EXPECT_THAT(refusal(wish(Source::kUnion, {rule("b", From::kModel, 1)}),
                      {models[0], model("m1", words({"x", "b"}), 1)}),
              HasSubstr("no row in m1: its id 1 is beyond the 1 rows"));
}

TEST(TokenRules, ARefusalHasTheLineOfTheRule) {
  TokenRule absent = rule("x", From::kModel, 0);
  absent.line = 17;
  const auto plan =
      plan_tokens(wish(Source::kBase, {absent}), std::vector{model("m0", words({"a"}))}, 0);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().offset, 17u);
}

// ---- the output's vocabulary

TEST(TokenVocabulary, AUnionKeepsTheBasesIdsThenOtherVocabulariesThenAddedTokens) {
  const auto plan = must_plan(wish(Source::kUnion), {model("m0", words({"a", "b"}, {"<0>"})),
                                                     model("m1", words({"c", "a"}, {"<1>", "<0>"})),
                                                     model("m2", words({"d"}, {"<2>"}))});
  const std::map<std::string, uint64_t> ids{{"a", 0}, {"b", 1},   {"<0>", 2}, {"c", 3},
                                            {"d", 4}, {"<1>", 5}, {"<2>", 6}};
  for (const auto& [token, id] : ids) EXPECT_EQ(plan.id(token), id) << token;
  EXPECT_EQ(plan.tokens, ids.size());
  EXPECT_EQ(plan.rows, ids.size());
}

TEST(TokenVocabulary, SaysThatAnothersVocabularyTokensBecomeAddedOnes) {
  const auto plan =
      must_plan(wish(Source::kUnion), {model("m0", words({"a"})), model("m1", words({"a", "ab"}))});
  EXPECT_THAT(plan.warnings, Contains(HasSubstr("1 token (\"ab\") of other models' vocabularies")));
}

TEST(TokenVocabulary, ABaseLeavesOutOtherModelsTokensAndSaysSo) {
  const auto plan = must_plan(wish(Source::kBase),
                              {model("m0", words({"a"})), model("m1", words({"a"}, {"<t>"}))});
  EXPECT_EQ(plan.rows, 1u);
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("\"<t>\") of m1 is not in the output's")));
}

TEST(TokenVocabulary, TokensBeyondTheRowsAreDroppedAndMayComeFromAnother) {
  const std::vector<TokenModel> models{model("m0", words({"a", "b"}, {"<t>"}), 2),
                                       model("m1", words({"a", "b"}, {"<t>"}))};
  const auto base = must_plan(wish(Source::kBase), models);
  EXPECT_THAT(base.dropped, ElementsAre("<t>"));
  EXPECT_EQ(base.id("<t>"), std::nullopt);
  EXPECT_EQ(base.rows, 2u);
  const auto both = must_plan(wish(Source::kUnion), models);
  EXPECT_EQ(both.id("<t>"), 2u);
  EXPECT_THAT(rows_of(both, 0), ElementsAre("m0[0]", "m0[1]", "m1[2]"));
}

TEST(TokenVocabulary, KeepsRowsThatNoTokenHas) {
  const auto plan = must_plan(
      wish(Source::kUnion), {model("m0", words({"a"}), 4), model("m1", words({"a"}, {"<t>"}), 3)});
  EXPECT_EQ(plan.rows, 4u);
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m1[1]", "m0[2]", "m0[3]"));
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "m1[1]", "m1[2]", "m0[3]"));
  EXPECT_THAT(plan.warnings, Contains(HasSubstr("the 2 rows without a token are kept")));
}

TEST(TokenVocabulary, ALargerDonorsPaddingIsNotTheModels) {
  TokenizerWish wanted = wish(Source::kModel);
  wanted.model = 1;
  TokenModel larger = only_lends(model("m1", words({"b", "a"}), 64));
  larger.rows = 0;  // of another width: it lends its tokenizer only
  const auto plan = must_plan(wanted, {model("m0", words({"a", "b"}), 3), larger});
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[1]", "m0[0]", "m0[2]"));
}

TEST(TokenVocabulary, PadsWithTheAverageOfTheModelsOwnRows) {
  TokenizerWish wanted = wish(Source::kBase);
  wanted.pad_to_multiple_of = 4;
  const auto plan =
      must_plan(wanted, {model("m0", words({"a", "b", "c"})), model("m1", words({"a", "b", "c"}))});
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "m1[1]", "m1[2]", "average"));
  EXPECT_EQ(plan.unclaimed.size(), 1u);
  EXPECT_EQ(plan.unclaimed[0].first, 3u);
}

TEST(TokenVocabulary, AModelWithoutATokenizerIsTakenToHaveTheBases) {
  TokenModel bare = model("m1", words({"a"}), 2);
  bare.tokenizer = nullptr;
  const auto plan = must_plan(wish(Source::kUnion), {model("m0", words({"b", "a"})), bare});
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "m1[1]"));
  EXPECT_THAT(plan.warnings, ElementsAre("m1 has no tokenizer; it is taken to be that of m0."));
}

TEST(TokenVocabulary, RefusesABaseWithoutATokenizer) {
  TokenModel bare = model("m0", words({"a"}));
  bare.tokenizer = nullptr;
  EXPECT_THAT(refusal(wish(Source::kUnion), {bare}), HasSubstr("m0 has no tokenizer.json"));
}

TEST(TokenVocabulary, RefusesATokenizerOfWhichNoTokenHasARow) {
  TokenModel wrong = model("m0", words({"a"}));
  wrong.vocab_size = 0;
  EXPECT_THAT(refusal(wish(Source::kBase), {wrong}), HasSubstr("none of its 1 tokens has a row"));
}

TEST(TokenVocabulary, RefusesAnIdThatTransformersWouldGiveTwice) {
  const auto gaps = parse_tokenizer(
      {{"tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 2}}})"}}, "folder");
  EXPECT_THAT(refusal(wish(Source::kBase, {rule("<n>", From::kZero)}), {model("m0", *gaps, 3)}),
              HasSubstr("its id would be 2, which is taken, because the ids have gaps"));
}

// ---- what mergekit does, as its own runs showed

TEST(TokenReplay, CutsTheVocabularyToItsTokens) {
  const auto plan =
      must_plan(wish(Source::kBase), {model("m0", words({"a", "b"}), 5)}, replaying(Version::k015));
  EXPECT_EQ(plan.rows, 2u);
}

TEST(TokenReplay, RefusesATokenBeyondVocabSizeInAnotherModel) {
  EXPECT_THAT(refusal(wish(Source::kBase),
                      {model("m0", words({"a", "b"})), model("m1", words({"a", "b"}), 1)},
                      replaying(Version::k015)),
              HasSubstr("the token \"b\" of m1 has the id 1, but vocab_size is 1 (KeyError)"));
}

TEST(TokenReplay, RefusesAVocabSizeLargerThanTheEmbedding) {
  TokenModel over = model("m1", words({"a", "b"}), 1);
  over.vocab_size = 2;
  EXPECT_THAT(refusal(wish(Source::kBase), {model("m0", words({"a", "b"})), over},
                      replaying(Version::k015)),
              HasSubstr("the embedding has 1 rows (IndexError)"));
}

TEST(TokenReplay, StripsOnlyBpe) {
  const std::vector<TokenModel> models{model("m0", words({"a", "b"}, {}, "WordLevel"), 1)};
  EXPECT_THAT(refusal(wish(Source::kBase), models, replaying(Version::k015)),
              HasSubstr("cannot remove tokens beyond vocab_size from a WordLevel tokenizer"));
  EXPECT_EQ(refusal(wish(Source::kBase), models), "");
}

TEST(TokenReplay, ATokenThatTheRecipeAddsToTheBaseIsTheBasesPadding) {
  const TokenRule zero = rule("<n>", From::kZero);
  const std::vector<TokenModel> padded{model("m0", words({"a"}), 4), model("m1", words({"a"}))};
  const auto plan = must_plan(wish(Source::kBase, {zero}), padded, replaying(Version::k015));
  EXPECT_THAT(rows_of(plan, 0), ElementsAre("m0[0]", "m0[1]"));
  EXPECT_THAT(rows_of(plan, 1), ElementsAre("m1[0]", "zero"));
  EXPECT_THAT(rows_of(must_plan(wish(Source::kBase, {zero}), padded), 0),
              ElementsAre("m0[0]", "zero", "m0[2]", "m0[3]"));
  EXPECT_THAT(
      refusal(wish(Source::kBase, {zero}), {model("m0", words({"a"}))}, replaying(Version::k015)),
      HasSubstr("(KeyError)"));
}

TEST(TokenReplay, LooksOnlyAtRulesThatAModelNeeds) {
  const std::vector<TokenModel> models{model("m0", words({"a"})), model("m1", words({"a"}))};
  const TokenizerWish absent = wish(Source::kBase, {rule("a", From::kModelToken, 1)});
  EXPECT_EQ(refusal(absent, models, replaying(Version::k015)), "");
  EXPECT_THAT(refusal(absent, models, replaying(Version::k014)), Not(IsEmpty()));
}

TEST(TokenReplay, RefusesWhatThatVersionDiesOf) {
  const std::vector<TokenModel> models{model("m0", words({"a"})), model("m1", words({"a", "b"}))};
  const TokenizerWish zero = wish(Source::kUnion, {rule("b", From::kZero)});
  EXPECT_THAT(refusal(zero, models, replaying(Version::k014)), HasSubstr("UnboundLocalError"));
  EXPECT_EQ(refusal(zero, models, replaying(Version::k015)), "");
  EXPECT_THAT(
      refusal(wish(Source::kUnion, {rule("b", From::kDefault)}), models, replaying(Version::k015)),
      HasSubstr("NotImplementedError"));
  const std::vector<TokenModel> lent{models[0], only_lends(models[1])};
  EXPECT_THAT(
      refusal(wish(Source::kUnion, {rule("b", From::kModel, 1)}), lent, replaying(Version::k015)),
      HasSubstr("from m1, which is not merged there"));
}

// ---- the rows themselves

constexpr const char* kLlama =
    R"({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "vocab_size": 3})";

ScratchTensor matrix(const std::string& name, Shape shape, double start,
                     DType dtype = DType::kF32) {
  return {name, dtype, std::move(shape), [start](size_t i) { return start + double(i); }};
}

std::shared_ptr<const Checkpoint> checkpoint(const ScratchFolder& folder, const std::string& name,
                                             const std::vector<ScratchTensor>& tensors,
                                             const std::string& config = kLlama) {
  const auto opened = open_checkpoint(write_model(folder, name, tensors, config));
  EXPECT_TRUE(opened) << opened.error().sentence;
  return *opened;
}

std::vector<double> values(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<std::byte> stored(tensor->bytes());
  EXPECT_TRUE(read_elements(checkpoint, *tensor, 0, stored));
  std::vector<double> out(tensor->elements);
  decode(tensor->dtype, stored.data(), std::span(out));
  return out;
}

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

TEST(Reindexed, GathersEmbeddingAndHeadAndNothingElse) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 2}, 10)});
  const auto b = checkpoint(folder, "b",
                            {matrix(kEmbedding, {3, 2}, 100), matrix(kHead, {3, 2}, 200),
                             matrix("model.layers.0.mlp.up_proj.weight", {3, 2}, 300)});
  const auto plan = must_plan(
      wish(Source::kUnion), {model("m0", words({"x", "y"})), model("m1", words({"y", "z", "x"}))});
  const auto aligned = reindexed(std::vector{a, b}, plan);
  ASSERT_TRUE(aligned) << aligned.error().sentence;
  EXPECT_THAT(values(*(*aligned)[0], kEmbedding), ElementsAre(10, 11, 12, 13, 102, 103));
  EXPECT_THAT(values(*(*aligned)[1], kEmbedding), ElementsAre(104, 105, 100, 101, 102, 103));
  EXPECT_THAT(values(*(*aligned)[1], kHead), ElementsAre(204, 205, 200, 201, 202, 203));
  EXPECT_EQ((*aligned)[1]->find("model.layers.0.mlp.up_proj.weight")->computed, nullptr);
}

TEST(Reindexed, LeavesAModelWhoseRowsStayAsItIs) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 2}, 10)});
  const auto b = checkpoint(folder, "b", {matrix(kEmbedding, {2, 2}, 20, DType::kBF16)});
  const auto plan = must_plan(wish(Source::kBase),
                              {model("m0", words({"x", "y"})), model("m1", words({"x", "y"}))});
  const auto aligned = reindexed(std::vector{a, b}, plan);
  ASSERT_TRUE(aligned);
  EXPECT_EQ((*aligned)[0], a);
  EXPECT_EQ((*aligned)[1], b);
}

TEST(Reindexed, GetsTheDtypeThatHoldsEveryRowOfIt) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {1, 2}, 1, DType::kBF16)});
  const auto b = checkpoint(folder, "b", {matrix(kEmbedding, {2, 2}, 1025.125)});
  const auto plan =
      must_plan(wish(Source::kUnion), {model("m0", words({"x"})), model("m1", words({"x", "y"}))});
  const auto aligned = reindexed(std::vector{a, b}, plan);
  ASSERT_TRUE(aligned);
  EXPECT_EQ((*aligned)[0]->find(kEmbedding)->dtype, DType::kF32);
  EXPECT_THAT(values(*(*aligned)[0], kEmbedding), ElementsAre(1, 2, 1027.125, 1028.125));
}

TEST(Reindexed, AModelThatLendsNothingDoesNotWidenIt) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 2}, 1, DType::kBF16)});
  const auto b = checkpoint(folder, "b", {matrix(kEmbedding, {2, 2}, 5)});
  TokenizerWish theirs = wish(Source::kModel);
  theirs.model = 1;
  const auto plan =
      must_plan(theirs, {model("m0", words({"x", "y"})), model("m1", words({"y", "x"}))});
  const auto aligned = reindexed(std::vector{a, b}, plan);
  ASSERT_TRUE(aligned);
  EXPECT_EQ((*aligned)[0]->find(kEmbedding)->dtype, DType::kBF16);
}

TEST(Reindexed, AMatrixWhoseRowsStayMayBeOfAnyDtype) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 2}, 1, DType::kF8E4M3)});
  const auto same = must_plan(wish(Source::kBase), {model("m0", words({"x", "y"}))});
  EXPECT_EQ(reindexed(std::vector{a}, same)->front(), a);
  const auto more =
      must_plan(wish(Source::kBase, {rule("z", From::kZero)}), {model("m0", words({"x", "y"}))});
  const auto refused = reindexed(std::vector{a}, more);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().sentence, HasSubstr("whose rows cannot be mixed"));
}

TEST(Reindexed, MeansAndPaddingAreAverages) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {1, 2}, 10)});
  const auto b = checkpoint(folder, "b", {matrix(kEmbedding, {2, 2}, 20)});
  const auto c = checkpoint(folder, "c", {matrix(kEmbedding, {2, 2}, 30)});
  TokenizerWish wanted = wish(Source::kUnion);
  wanted.pad_to_multiple_of = 3;
  const auto plan = must_plan(wanted, {model("m0", words({"x"})), model("m1", words({"x", "y"})),
                                       model("m2", words({"x", "y"}))});
  const auto aligned = reindexed(std::vector{a, b, c}, plan);
  ASSERT_TRUE(aligned);
  EXPECT_THAT(values(*(*aligned)[0], kEmbedding), ElementsAre(10, 11, 27, 28, 18.5, 19.5));
}

TEST(Reindexed, AnyStretchIsThatOfTheWhole) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {3, 5}, 10)});
  const auto b = checkpoint(folder, "b", {matrix(kEmbedding, {3, 5}, 90, DType::kBF16)});
  TokenizerWish wanted = wish(Source::kUnion, {rule("<n>", From::kZero)});
  wanted.pad_to_multiple_of = 8;
  const auto plan =
      must_plan(wanted, {model("m0", words({"x", "y", "z"})), model("m1", words({"z", "x", "w"}))});
  const auto aligned = reindexed(std::vector{a, b}, plan);
  ASSERT_TRUE(aligned);
  const Checkpoint& first = *(*aligned)[0];
  const TensorInfo& tensor = *first.find(kEmbedding);
  std::vector<std::byte> whole(tensor.bytes());
  ASSERT_TRUE(read_elements(first, tensor, 0, whole));
  for (uint64_t from = 0; from < tensor.elements; from += 3) {
    for (uint64_t to = from + 1; to <= tensor.elements; to += 4) {
      std::vector<std::byte> part((to - from) * 4);
      ASSERT_TRUE(read_elements(first, tensor, from, part));
      ASSERT_TRUE(
          std::equal(part.begin(), part.end(), whole.begin() + static_cast<ptrdiff_t>(from * 4)))
          << from << " " << to;
    }
  }
}

TEST(Reindexed, RefusesRowsOfAnotherWidthOnlyWhereTheyAreNeeded) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 2}, 10)});
  const auto wide = checkpoint(folder, "wide", {matrix(kEmbedding, {3, 4}, 10)});
  const std::vector<TokenModel> models{model("m0", words({"x", "y"})),
                                       only_lends(model("m1", words({"y", "x", "z"})))};
  EXPECT_TRUE(reindexed(std::vector{a, wide}, must_plan(wish(Source::kBase), models)));
  TokenizerWish theirs = wish(Source::kModel);
  theirs.model = 1;
  const auto refused = reindexed(std::vector{a, wide}, must_plan(theirs, models));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().sentence, HasSubstr("has rows of 4 elements there, not of 2"));
}

TEST(Reindexed, AHeadTakesRowsFromTheEmbeddingOfAModelWithoutOne) {
  const ScratchFolder folder;
  const auto a =
      checkpoint(folder, "a", {matrix(kEmbedding, {1, 2}, 10), matrix(kHead, {1, 2}, 20)});
  const auto tied = checkpoint(folder, "tied", {matrix(kEmbedding, {2, 2}, 30)});
  const auto plan =
      must_plan(wish(Source::kUnion), {model("m0", words({"x"})), model("m1", words({"x", "y"}))});
  const auto aligned = reindexed(std::vector{a, tied}, plan);
  ASSERT_TRUE(aligned) << aligned.error().sentence;
  EXPECT_THAT(values(*(*aligned)[0], kHead), ElementsAre(20, 21, 32, 33));
}

TEST(Reindexed, AnEmptyEmbeddingIsRead) {
  const ScratchFolder folder;
  const auto a = checkpoint(folder, "a", {matrix(kEmbedding, {2, 0}, 10)});
  const auto plan =
      must_plan(wish(Source::kBase), {model("m0", words({"x"}), 2)}, replaying(Version::k015));
  const auto aligned = reindexed(std::vector{a}, plan);
  ASSERT_TRUE(aligned);
  EXPECT_THAT(values(*(*aligned)[0], kEmbedding), IsEmpty());
}

TEST(VocabularyTensors, PositionsAreNotTokensHoweverManyThereAre) {
  const ScratchFolder folder;
  const auto gpt2 =
      checkpoint(folder, "gpt2", {matrix("wte.weight", {4, 2}, 0), matrix("wpe.weight", {4, 2}, 0)},
                 R"({"architectures": ["GPT2LMHeadModel"], "vocab_size": 4})");
  const auto found = vocabulary_tensors(*gpt2);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0]->name, "wte.weight");
  EXPECT_THAT(other_embeddings(*gpt2), IsEmpty());
}

TEST(VocabularyTensors, AnEmbeddingWithOtherRowsIsAnotherOne) {
  const ScratchFolder folder;
  const auto gemma = checkpoint(
      folder, "gemma",
      {matrix(kEmbedding, {3, 2}, 0), matrix("model.embed_tokens_per_layer.weight", {2, 2}, 0)},
      R"({"architectures": ["Gemma3nForCausalLM"], "vocab_size": 3})");
  ASSERT_EQ(other_embeddings(*gemma).size(), 1u);
  EXPECT_EQ(other_embeddings(*gemma)[0]->name, "model.embed_tokens_per_layer.weight");
}

TEST(OwnHead, OfATiedModelIsItsEmbedding) {
  const ScratchFolder folder;
  const std::vector<ScratchTensor> tensors{matrix(kEmbedding, {3, 2}, 10)};
  const auto untied = checkpoint(folder, "untied", tensors);
  EXPECT_EQ(*with_own_head(untied, kHead), untied);
  const auto tied = checkpoint(
      folder, "tied", tensors,
      R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 3, "tie_word_embeddings": true})");
  const auto made = with_own_head(tied, kHead);
  ASSERT_TRUE(made);
  EXPECT_EQ(values(**made, kHead), values(*tied, kEmbedding));
}

TEST(Truncated, KeepsTheFirstRowsOfEachVocabularyTensor) {
  const ScratchFolder folder;
  const auto a =
      checkpoint(folder, "a", {matrix(kEmbedding, {3, 2}, 10), matrix(kHead, {3, 2}, 20)});
  const auto cut = truncated(a, 2);
  ASSERT_TRUE(cut);
  EXPECT_THAT(values(**cut, kEmbedding), ElementsAre(10, 11, 12, 13));
  EXPECT_THAT(values(**cut, kHead), ElementsAre(20, 21, 22, 23));
  EXPECT_FALSE(truncated(a, 4));
}

}  // namespace
}  // namespace hieron
