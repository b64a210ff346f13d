#include "hieron/model/tokenizer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kReal = HIERON_TEST_DATA "/moe/base";

// {"id": …, "content": …} with the flags that the tokenizers library writes.
std::string added(int64_t id, const std::string& content, bool special = true) {
  return fmt::format(R"({{"id": {}, "content": "{}", "single_word": false, "lstrip": false,
                         "rstrip": false, "normalized": false, "special": {}}})",
                     id, content, special);
}

// A BPE tokenizer.json of three tokens, a, b and c, and the added ones.
std::string tokenizer_json(const std::string& added_tokens,
                           const std::string& vocab = R"({"a": 0, "b": 1, "c": 2})") {
  return fmt::format(
      R"({{"added_tokens": [{}], "model": {{"type": "BPE", "vocab": {}, "merges": []}}}})",
      added_tokens, vocab);
}

Result<std::shared_ptr<const Tokenizer>> parse(const std::vector<TokenizerFile>& files) {
  return parse_tokenizer(files, "folder");
}

// "a:0 b:1", or why it is refused.
std::string tokens_of(const std::vector<TokenizerFile>& files) {
  const auto tokenizer = parse(files);
  if (!tokenizer) return tokenizer.error().sentence;
  std::string all;
  for (const Token& token : (*tokenizer)->tokens()) {
    all += fmt::format("{}{}:{}", all.empty() ? "" : " ", token.text, token.id);
  }
  return all;
}

std::string refusal(const std::string& json) { return tokens_of({{"tokenizer.json", json}}); }

TEST(Tokenizer, ReadsARealByteLevelVocabulary) {
  const auto tokenizer = open_tokenizer(kReal);
  ASSERT_TRUE(tokenizer) << tokenizer.error().sentence;
  const Tokenizer& real = **tokenizer;
  EXPECT_EQ(real.kind(), "BPE");
  EXPECT_THAT(real.tokens(), SizeIs(1024));
  EXPECT_THAT(real.added(), SizeIs(3));
  EXPECT_EQ(real.id("<|im_end|>"), 2u);
  EXPECT_EQ(real.text(2), "<|im_end|>");
  EXPECT_EQ(real.id("Ġsaid"), 500u);
  EXPECT_TRUE(real.added_token("<|im_end|>")->special);
  EXPECT_EQ(real.added_token("Ġsaid"), nullptr);
  EXPECT_EQ(real.id("no such token"), std::nullopt);
  EXPECT_THAT(real.warnings(), IsEmpty());
}

// What tokenizers 0.23 and transformers 5.24 give for these files.
TEST(Tokenizer, NumbersAddedTokensOneAfterTheOtherWhateverTheFileStates) {
  EXPECT_EQ(refusal(tokenizer_json(added(10, "X") + "," + added(20, "Y"))), "a:0 b:1 c:2 X:3 Y:4");
  EXPECT_EQ(refusal(tokenizer_json(added(4, "X") + "," + added(3, "Y"))), "a:0 b:1 c:2 X:3 Y:4");
  EXPECT_EQ(refusal(tokenizer_json(added(7, "a") + "," + added(3, "Y"))), "a:0 b:1 c:2 Y:3");
  EXPECT_EQ(refusal(tokenizer_json(added(3, "X"), R"({"a": 0, "b": 1, "c": 5})")),
            "a:0 b:1 X:3 c:5");
}

TEST(Tokenizer, WarnsOfAStatedIdThatDoesNotHold) {
  const auto tokenizer = parse({{"tokenizer.json", tokenizer_json(added(10, "X"))}});
  ASSERT_TRUE(tokenizer);
  EXPECT_THAT((*tokenizer)->warnings(), ElementsAre(HasSubstr(R"(("X": 3, not 10), which hold)")));
}

TEST(Tokenizer, LeavesOutEmptyAddedTokensAsTheLibraryDoes) {
  EXPECT_EQ(refusal(tokenizer_json(added(3, "") + "," + added(4, "Y"))), "a:0 b:1 c:2 Y:3");
}

TEST(Tokenizer, AppendsTokensOfTheConfigById) {
  EXPECT_EQ(
      tokens_of({{"tokenizer.json", tokenizer_json("")},
                 {"tokenizer_config.json",
                  R"({"added_tokens_decoder": {"10": {"content": "X"}, "7": {"content": "Y"}}})"}}),
      "a:0 b:1 c:2 Y:3 X:4");
}

TEST(Tokenizer, ATokenOfTheConfigGivesWayToTokenizerJson) {
  EXPECT_EQ(tokens_of({{"tokenizer.json", tokenizer_json(added(3, "X"))},
                       {"tokenizer_config.json",
                        R"({"added_tokens_decoder": {"3": {"content": "Y"}}})"}}),
            "a:0 b:1 c:2 X:3 Y:4");
}

TEST(Tokenizer, AddsNamedSpecialTokensThatAreMissingBehindAllOthers) {
  const auto tokenizer = parse(
      {{"tokenizer.json", tokenizer_json(added(3, "X"))},
       {"tokenizer_config.json",
        R"({"pad_token": "P", "bos_token": {"content": "B"}, "eos_token": "Q", "unk_token": null,
                  "additional_special_tokens": ["E"], "added_tokens_decoder": {"5": {"content": "Q"}}})"}});
  ASSERT_TRUE(tokenizer) << tokenizer.error().sentence;
  const auto ids = [&](const char* text) { return (*tokenizer)->id(text); };
  EXPECT_EQ(ids("Q"), 4u);
  EXPECT_EQ(ids("B"), 5u);
  EXPECT_EQ(ids("P"), 6u);
  EXPECT_EQ(ids("E"), 7u);
  EXPECT_TRUE((*tokenizer)->added_token("P")->named);
  EXPECT_FALSE((*tokenizer)->added_token("X")->named);
}

TEST(Tokenizer, ReadsAddedTokensJsonOnlyWithoutADecoder) {
  const TokenizerFile tokens{"tokenizer.json", tokenizer_json("")};
  const TokenizerFile more{"added_tokens.json", R"({"Z": 3})"};
  EXPECT_EQ(tokens_of({tokens, more}), "a:0 b:1 c:2 Z:3");
  EXPECT_EQ(tokens_of({tokens, more, {"tokenizer_config.json", R"({"added_tokens_decoder": {}})"}}),
            "a:0 b:1 c:2");
}

TEST(Tokenizer, SettingsOfTheConfigHoldOverThoseOfTokenizerJson) {
  const auto tokenizer = parse(
      {{"tokenizer.json", tokenizer_json(added(3, "X", true))},
       {"tokenizer_config.json",
        R"({"added_tokens_decoder": {"3": {"content": "X", "special": false, "lstrip": true}}})"}});
  ASSERT_TRUE(tokenizer);
  EXPECT_FALSE((*tokenizer)->added_token("X")->special);
  EXPECT_TRUE((*tokenizer)->added_token("X")->lstrip);
}

TEST(Tokenizer, OfEqualUnigramPiecesTheLastCounts) {
  const std::string json =
      R"({"model": {"type": "Unigram", "vocab": [["<unk>", 0], ["a", -1], ["b", -1.5], ["a", -2]]}})";
  EXPECT_EQ(refusal(json), "<unk>:0 b:2 a:3");
  const auto tokenizer = parse({{"tokenizer.json", json}});
  EXPECT_THAT((*tokenizer)->warnings(), ElementsAre(HasSubstr("more than once (\"a\", …)")));
}

TEST(Tokenizer, ReadsVocabulariesOfFoldersWithoutTokenizerJson) {
  EXPECT_EQ(tokens_of({{"vocab.json", R"({"b": 1, "a": 0})"}, {"merges.txt", ""}}), "a:0 b:1");
  EXPECT_EQ(tokens_of({{"vocab.txt", "[PAD]\r\n[UNK]\nthe"}}), "[PAD]:0 [UNK]:1 the:2");
}

TEST(Tokenizer, RefusesIdsThatNoEmbeddingHas) {
  for (const char* id : {"1099511627776", "4194304", "-1", "1.5", "\"7\"", "null", "1e3"}) {
    EXPECT_THAT(refusal(tokenizer_json("", fmt::format(R"({{"a": 0, "b": {}}})", id))),
                HasSubstr("the id of the token \"b\" is not a whole number below 4,194,304"))
        << id;
  }
}

TEST(Tokenizer, RefusesDamageInOneSentence) {
  const std::string whole = tokenizer_json(added(3, "X"));
  EXPECT_THAT(refusal(whole.substr(0, 60)), HasSubstr("folder/tokenizer.json: not valid JSON"));
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON (Empty"));
  EXPECT_THAT(refusal("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("there is no \"model\""));
  EXPECT_THAT(refusal(R"({"model": {}})"), HasSubstr("no \"vocab\""));
  EXPECT_THAT(refusal(tokenizer_json("", "7")), HasSubstr("neither an object nor a list"));
  EXPECT_THAT(refusal(tokenizer_json("", "{}")), HasSubstr("not one token"));
  EXPECT_THAT(refusal(tokenizer_json("", "{\"\xFF\": 0}")), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(refusal(tokenizer_json("\"X\"")), HasSubstr("not an object with \"content\""));
  EXPECT_THAT(refusal(tokenizer_json(R"({"id": 3, "content": "X", "special": 1})")),
              HasSubstr("\"special\" of the added token \"X\" is not true or false"));
  EXPECT_THAT(refusal(tokenizer_json("", R"({"a": NaN})")), HasSubstr("not valid JSON"));
}

TEST(Tokenizer, RefusesWhatContradictsItself) {
  EXPECT_THAT(refusal(tokenizer_json("", R"({"a": 0, "b": 0})")),
              HasSubstr("the tokens \"a\" and \"b\" have one id, 0"));
  EXPECT_THAT(refusal(tokenizer_json("", R"({"a": 0, "a": 1})")),
              HasSubstr("the token \"a\" is in it twice"));
  EXPECT_THAT(refusal(R"({"model": {"vocab": {"a": 0}}, "model": {"vocab": {"b": 0}}})"),
              HasSubstr("\"model\" is in it twice"));
}

TEST(Tokenizer, RefusesDeepNestingWithoutRecursion) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(refusal(deep + "1" + std::string(100'000, '}')), HasSubstr("too deep"));
}

TEST(Tokenizer, RefusesAFileLargerThanAnyTokenizerUnread) {
  const ScratchFolder folder;
  folder.write("tokenizer.json", "{}");
  std::filesystem::resize_file(folder.path("tokenizer.json"), 65u << 20);
  EXPECT_THAT(open_tokenizer(folder.path("")).error().sentence, HasSubstr("at most 67,108,864"));
}

TEST(Tokenizer, SaysHowToReadAVocabularyOfAnotherProgram) {
  const ScratchFolder folder;
  folder.write("tokenizer.model", "\x0a\x0b");
  EXPECT_THAT(open_tokenizer(folder.path("")).error().sentence,
              HasSubstr("there is no tokenizer.json beside it; let transformers write one"));
}

TEST(Tokenizer, IsNoneInAFolderWithoutAny) {
  const ScratchFolder folder;
  const auto none = open_tokenizer(folder.path(""));
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, nullptr);
}

TEST(ChatTemplateFile, WinsOverTheConfigs) {
  const ScratchFolder folder;
  folder.write("tokenizer_config.json",
               R"({"model_max_length": 1000000000000000019884624838656,
                   "chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(*read_chat_template(folder.path("")), "d");
  folder.write("chat_template.jinja", "{{ messages }}");
  EXPECT_EQ(*read_chat_template(folder.path("")), "{{ messages }}");
}

TEST(ChatTemplateFile, IsReadWhateverTheVocabularyIs) {
  const ScratchFolder folder;
  folder.write("tokenizer.json", "damaged");
  folder.write("tokenizer_config.json", R"({"chat_template": "c"})");
  EXPECT_EQ(*read_chat_template(folder.path("")), "c");
}

TEST(ChatTemplateFile, MustBeUtf8) {
  const ScratchFolder folder;
  folder.write("chat_template.jinja", "\xFF");
  EXPECT_THAT(read_chat_template(folder.path("")).error().sentence, HasSubstr("not valid UTF-8"));
}

}  // namespace
}  // namespace hieron
