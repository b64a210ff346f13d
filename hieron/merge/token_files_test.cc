#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "hieron/io/scratch_folder.h"
#include "hieron/merge/tokens.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using testing::Not;
using Source = TokenizerWish::Source;

// Files of one model whose embedding has `rows` rows, with a recipe that adds the token <new>.
class TokenFiles : public testing::Test {
 protected:
  void use(const std::vector<TokenizerFile>& files) {
    for (const TokenizerFile& file : files) folder_.write(file.name, file.text);
  }
  void use_real_tokenizer() {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(std::string(HIERON_TEST_DATA "/moe/base/") + name,
                                 folder_.path(name));
    }
  }

  TokenPlan plan(uint64_t rows, bool add = false) {
    const auto tokenizer = open_tokenizer(folder_.path());
    EXPECT_TRUE(tokenizer) << tokenizer.error().sentence;
    const std::vector<TokenModel> models{
        {.name = "m", .tokenizer = *tokenizer, .vocab_size = rows, .rows = rows}};
    TokenizerWish wish;
    wish.source = Source::kBase;
    TokenRule rule;
    rule.token = "<new>";
    rule.from = TokenRule::From::kZero;
    if (add) wish.rules.push_back(rule);
    auto made = plan_tokens(wish, models, 0);
    EXPECT_TRUE(made) << made.error().sentence;
    return std::move(made).value();
  }

  std::vector<TokenizerFile> written(const TokenPlan& plan) {
    auto files = tokenizer_files(plan);
    EXPECT_TRUE(files) << files.error().sentence;
    return std::move(files).value();
  }

  static std::string text(const std::vector<TokenizerFile>& files, std::string_view name) {
    for (const TokenizerFile& file : files) {
      if (file.name == name) return file.text;
    }
    ADD_FAILURE() << name << " is not there";
    return {};
  }

  ScratchFolder folder_;
};

constexpr const char* kMerged =
    R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3}, "merges": ["a b", ["ab", "ab"]]}})";

TEST_F(TokenFiles, AreTheDonorsToTheByteIfNoTokenIsAddedOrDropped) {
  use_real_tokenizer();
  for (const TokenizerFile& file : written(plan(1024))) {
    EXPECT_EQ(file.text, folder_.read(file.name)) << file.name;
  }
}

TEST_F(TokenFiles, AnAddedTokenIsOneEntryMoreAndAllElseStays) {
  use_real_tokenizer();
  const auto files = written(plan(1024, true));
  const std::string before = folder_.read("tokenizer.json");
  std::string after = text(files, "tokenizer.json");
  const std::string entry =
      ",\n    {\n      \"id\": 1024,\n      \"content\": \"<new>\",\n      \"single_word\": "
      "false,\n"
      "      \"lstrip\": false,\n      \"rstrip\": false,\n      \"normalized\": true,\n"
      "      \"special\": false\n    }";
  const size_t at = after.find(entry);
  ASSERT_NE(at, after.npos);
  EXPECT_EQ(after.erase(at, entry.size()), before);
  EXPECT_EQ(text(files, "tokenizer_config.json"), folder_.read("tokenizer_config.json"));
}

TEST_F(TokenFiles, GiveEveryTokenTheIdOfItsRow) {
  use_real_tokenizer();
  const TokenPlan wanted = plan(1020, true);
  const auto made = parse_tokenizer(written(wanted), "out");
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->tokens().size(), 1021u);
  for (const Token& token : (*made)->tokens()) EXPECT_EQ(wanted.id(token.text), token.id);
}

TEST_F(TokenFiles, WithADroppedTokenGoItsMerges) {
  use({{"tokenizer.json", kMerged}, {"merges.txt", "#version: 0.2\na b\nab ab\n"}});
  const auto files = written(plan(3));
  EXPECT_EQ(text(files, "tokenizer.json"),
            R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
  EXPECT_EQ(text(files, "merges.txt"), "#version: 0.2\na b\n");
}

TEST_F(TokenFiles, OfAFolderWithoutTokenizerJsonAreKeptInStepToo) {
  use({{"vocab.json", R"({"a": 0, "b": 1, "ab": 2})"}, {"merges.txt", "a b\n"}});
  const auto files = written(plan(2, true));
  EXPECT_EQ(text(files, "vocab.json"), R"({"a": 0, "b": 1})");
  EXPECT_EQ(text(files, "merges.txt"), "");
  EXPECT_THAT(text(files, "tokenizer_config.json"), HasSubstr(R"("2": {)"));
}

TEST_F(TokenFiles, LinesOfAVocabularyGoFromItsEnd) {
  use({{"vocab.txt", "a\nb\nc\n"}});
  EXPECT_EQ(text(written(plan(2)), "vocab.txt"), "a\nb\n");
}

TEST_F(TokenFiles, AreRefusedIfTheyWouldBringADroppedPieceBack) {
  use({{"tokenizer.json",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["b", -1], ["a", -2]]}})"}});
  const auto refused = tokenizer_files(plan(2));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().sentence, HasSubstr("the tokenizer cannot be written with"));
}

TEST_F(TokenFiles, ATokenIsAddedBehindPiecesThatRepeat) {
  use({{"tokenizer.json",
        R"({"model": {"type": "Unigram", "vocab": [["a", 0], ["b", -1], ["a", -2]]}})"}});
  const auto made = parse_tokenizer(written(plan(3, true)), "out");
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->id("<new>"), 3u);
}

TEST_F(TokenFiles, ANamedTokenWithoutARowIsNamedNoMore) {
  use({{"tokenizer.json", kMerged},
       {"tokenizer_config.json", R"({"pad_token": "<pad>", "eos_token": "a"})"}});
  EXPECT_EQ(text(written(plan(4)), "tokenizer_config.json"),
            R"({"pad_token": null, "eos_token": "a"})");
}

// tokenizers numbers the list in its order: a token that only the config adds would come after
// <new>.
TEST_F(TokenFiles, TokensThatOnlyTheConfigAddsAreListedBeforeNewOnes) {
  use({{"tokenizer.json", kMerged},
       {"tokenizer_config.json", R"({"added_tokens_decoder": {"4": {"content": "<config>"}}})"}});
  const auto made = parse_tokenizer(written(plan(5, true)), "out");
  ASSERT_TRUE(made);
  EXPECT_EQ((*made)->id("<config>"), 4u);
  EXPECT_EQ((*made)->id("<new>"), 5u);
}

TEST_F(TokenFiles, AStatedIdThatDoesNotHoldIsCorrectedOnceTheListIsWritten) {
  use({{"tokenizer.json",
        R"({"added_tokens": [{"id": 9, "content": "<t>"}], "model": {"type": "BPE", "vocab": {"a": 0}}})"}});
  const auto files = written(plan(2, true));
  EXPECT_THAT(text(files, "tokenizer.json"), Not(HasSubstr("9")));
  EXPECT_THAT(text(files, "tokenizer.json"), HasSubstr(R"("id": 1)"));
}

TEST_F(TokenFiles, BesideATokenizerModelNewTokensAreListedForProgramsThatReadIt) {
  use({{"tokenizer.json", kMerged}, {"tokenizer.model", "\x0a"}, {"tokenizer_config.json", "{}"}});
  const auto files = written(plan(4, true));
  EXPECT_EQ(text(files, "added_tokens.json"), "{\"<new>\": 4}\n");
  EXPECT_EQ(text(files, "tokenizer_config.json"), "{}");
}

// With a decoder in the config, transformers no longer reads special_tokens_map.json.
TEST_F(TokenFiles, ADecoderThatIsNewBringsTheNamesOfSpecialTokensAlong) {
  use({{"vocab.json", R"({"a": 0, "b": 1})"},
       {"merges.txt", ""},
       {"special_tokens_map.json", R"({"eos_token": "b", "pad_token": {"content": "a"}})"},
       {"tokenizer_config.json", R"({"pad_token": "b"})"}});
  const std::string config = text(written(plan(2, true)), "tokenizer_config.json");
  EXPECT_THAT(config, HasSubstr(R"("eos_token": "b")"));
  EXPECT_THAT(config, HasSubstr(R"("pad_token": "b")"));
  EXPECT_THAT(config, HasSubstr("added_tokens_decoder"));
}

TEST_F(TokenFiles, AReplayStopsWhereMergekitLeavesAMergeWithoutItsToken) {
  use({{"tokenizer.json", kMerged}});
  TokenPlan replayed = plan(3);
  replayed.replay = mergekit::Version::k015;
  const auto refused = tokenizer_files(replayed);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().sentence, HasSubstr("a merge makes the token \"abab\""));
}

// ---- token ids in configs

class TokenIdsInConfigs : public TokenFiles {
 protected:
  // A config of a model with the tokens b, a: in the plan, a is 0, b is 1 and c is not there.
  std::string renumbered(const std::string& config) {
    const auto from = parse_tokenizer(
        {{"tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"b": 0, "a": 1, "c": 2}}})"}},
        "from");
    use({{"tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}})"}});
    return with_token_ids(config, **from, plan(2), missing_);
  }
  std::vector<std::string> missing_;
};

TEST_F(TokenIdsInConfigs, NameTheSameTokens) {
  EXPECT_EQ(renumbered(R"({"eos_token_id": [1, 0], "bos_token_id": 0, "image_token_index": 1})"),
            R"({"eos_token_id": [0, 1], "bos_token_id": 1, "image_token_index": 0})");
  EXPECT_EQ(renumbered(R"({"text_config": {"eos_token_id": 1}})"),
            R"({"text_config": {"eos_token_id": 0}})");
}

TEST_F(TokenIdsInConfigs, OtherNumbersStay) {
  const std::string config =
      R"({"pad_token_id": null, "sep_token_id": -1, "hidden_size": 1, "unk_token_id": 7})";
  EXPECT_EQ(renumbered(config), config);
  EXPECT_TRUE(missing_.empty());
}

TEST_F(TokenIdsInConfigs, OfATokenThatIsGoneIsReported) {
  EXPECT_EQ(renumbered(R"({"eos_token_id": 2})"), R"({"eos_token_id": 2})");
  EXPECT_THAT(missing_, testing::ElementsAre("eos_token_id (2, \"c\")"));
}

}  // namespace
}  // namespace hieron
