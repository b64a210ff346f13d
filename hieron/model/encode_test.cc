// Expected ids are what the tokenizers library (0.23.3) gives for the same tokenizer.json.
#include "hieron/model/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hieron/io/file.h"
#include "hieron/io/scratch_folder.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using Ids = std::vector<uint32_t>;

const std::string kMoe = HIERON_TEST_DATA "/moe/base";

Json moe_tokenizer() { return Json::parse(*read_text(kMoe + "/tokenizer.json", 1 << 20)); }

// A folder with a tokenizer.
struct Folder {
  ScratchFolder folder;

  Result<std::shared_ptr<const Encoder>> open(const Json& tokenizer,
                                              const Json& config = {}) const {
    return open_text(tokenizer.dump(), config);
  }
  Result<std::shared_ptr<const Encoder>> open_text(const std::string& json,
                                                   const Json& config = {}) const {
    folder.write("tokenizer.json", json);
    if (!config.is_null()) folder.write("tokenizer_config.json", config.dump());
    return open_encoder(folder.path(""));
  }
  std::string refusal(const Json& tokenizer) const {
    const auto opened = open(tokenizer);
    return opened ? "" : opened.error().sentence;
  }
};

using Expected = std::vector<std::pair<std::string, Ids>>;

void expect_ids(const Result<std::shared_ptr<const Encoder>>& encoder, const Expected& expected,
                SpecialTokens special_tokens = SpecialTokens::kLeaveOut) {
  ASSERT_TRUE(encoder) << encoder.error().sentence;
  for (const auto& [text, ids] : expected) {
    const auto found = (*encoder)->encode(text, special_tokens);
    ASSERT_TRUE(found) << found.error().sentence;
    EXPECT_EQ(*found, ids) << '"' << text << '"';
  }
}

Json byte_level(bool words) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", words}};
}

Json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json sequence(const char* list, Json rules) { return {{"type", "Sequence"}, {list, rules}}; }

Json added_token(uint32_t id, const char* content, const char* flag) {
  Json token{{"id", id}, {"content", content}, {"special", false}};
  for (const char* name : {"single_word", "lstrip", "rstrip", "normalized"}) {
    token[name] = std::string_view(flag).contains(name);
  }
  return token;
}

// Llama's and Mistral's kind: a mark for spaces, bytes for characters that are no token.
Json llama_tokenizer() {
  return Json::parse(R"({
    "added_tokens": [
      {"id": 0, "content": "<unk>", "normalized": false, "special": true},
      {"id": 1, "content": "<s>", "normalized": false, "special": true},
      {"id": 2, "content": "</s>", "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
      "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<0xC3>": 3, "<0xA9>": 4, "▁": 5, "a": 6, "b": 7,
                "▁a": 8, "ab": 9, "▁ab": 10, "▁▁": 11, "aa": 12},
      "merges": ["▁ a", "a b", "▁a b", "▁ ab", "▁ ▁", "a a"]}})");
}

TEST(Encode, SplitsTextIntoBytePairsAsTheTokenizersLibraryDoes) {
  expect_ids(
      open_encoder(kMoe),
      {{"", {}},
       {"In the beginning God created the heaven and the earth.",
        {803, 265, 333, 73, 264, 80,  288, 690,  275, 268,
         637, 265, 363, 67, 633, 287, 265, 1015, 425, 16}},
       {"def main():\n    return self.x  # café",
        {70, 386, 283, 488, 387, 28, 341, 396, 395, 16, 90, 223, 424, 275, 67, 72, 130, 105}},
       {"it's we'LL can't", {279, 474, 482, 9, 46, 46, 577, 681}},
       {"12345 ½ ²", {19, 777, 22, 23, 223, 129, 124, 223, 129, 113}}});
}

TEST(Encode, KeepsEveryByteOfOtherScripts) {
  expect_ids(
      open_encoder(kMoe),
      {{"Größe naïve ŒUVRE",
        {41, 84, 130, 117, 130, 256, 71, 301, 67, 130, 110, 348, 223, 132, 243, 55, 56, 52, 39}},
       {"привет 你好 🎉👩‍👩‍👧",
        {143, 126, 144, 225, 143, 119, 143, 113, 143, 116, 144, 227, 223, 163,
         124, 257, 164, 101, 124, 223, 175, 256, 239, 234, 175, 256, 242, 105,
         454, 238, 175, 256, 242, 105, 454, 238, 175, 256, 242, 103}},
       {"e\u0301 é", {71, 139, 226, 223, 130, 105}}});
}

TEST(Encode, LeavesOneOfSeveralSpacesToTheNextWord) {
  expect_ids(
      open_encoder(kMoe),
      {{"  two   spaces\t\n\n end ", {223, 808, 259, 544, 351, 289, 200, 933, 358, 266, 223}},
       {"a\u00A0b\u3000c\u0085d", {67, 129, 257, 68, 162, 225, 225, 69, 129, 230, 70}}});
}

TEST(Encode, FindsSpecialTokensFirst) {
  expect_ids(open_encoder(kMoe), {{"<|im_start|>user\nhi<|im_end|>", {1, 546, 271, 201, 74, 75, 2}},
                                  {" <|endoftext|> ", {223, 0, 223}},
                                  {"<|im_start", {30, 94, 319, 65, 324, 563}}});
}

TEST(Encode, SplitsByThePatternThatTheFileGives) {
  const Folder folder;
  Json tokenizer = moe_tokenizer();
  tokenizer["normalizer"] = {{"type", "NFC"}};
  tokenizer["pre_tokenizer"] = sequence(
      "pretokenizers", {split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                              " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"),
                        byte_level(false)});
  expect_ids(folder.open(tokenizer),
             {{"12345 it'S e\u0301", {19, 20, 21, 22, 23, 353, 9, 53, 223, 130, 105}},
              {"x\r\n\r\n  y", {90, 204, 201, 204, 201, 223, 389}},
              {"(self,\n", {10, 412, 14, 201}},
              {"   \n   a", {273, 201, 259, 263}},
              {"¿qué?", {129, 126, 506, 130, 105, 33}}});
}

TEST(Encode, SplitsDigitsAndPunctuation) {
  const Folder folder;
  Json tokenizer = moe_tokenizer();
  tokenizer["pre_tokenizer"] =
      sequence("pretokenizers", {{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                                 byte_level(true),
                                 {{"type", "Digits"}, {"individual_digits", false}},
                                 split("[0-9][0-9][0-9]")});
  expect_ids(folder.open(tokenizer), {{"wait...what?!", {89, 67, 279, 757, 89, 74, 272, 33, 3}},
                                      {"a1234567b", {67, 19, 777, 22, 23, 24, 25, 68}},
                                      {"«12»", {129, 107, 929, 129, 122}}});
}

TEST(Encode, PutsAMarkBeforeEveryTextOfALlama) {
  const Folder folder;
  expect_ids(folder.open(llama_tokenizer()), {{"ab", {10}},
                                              {"ab ab  a", {10, 10, 5, 8}},
                                              {" ab", {5, 10}},
                                              {"<s>ab</s>b", {1, 10, 2, 5, 7}},
                                              {"aaa", {8, 12}},
                                              {"", {}}});
}

TEST(Encode, FallsBackToBytesAndThenToTheUnknownToken) {
  const Folder folder;
  expect_ids(folder.open(llama_tokenizer()), {{"é", {5, 3, 4}}, {"€", {5, 0}}, {"ç€x", {5, 0}}});
}

TEST(Encode, PutsAMarkBeforeTheFirstTextOfAMistral) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  expect_ids(folder.open(tokenizer), {{"ab ab  a", {10, 10, 5, 8}},
                                      {" ab", {10}},
                                      {"<s>ab</s>b", {1, 9, 2, 7}},
                                      {"x<s> ab", {5, 0, 1, 10}}});
}

TEST(Encode, GivesEveryUnknownCharacterATokenUnlessTheyAreFused) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", true}};
  tokenizer["model"]["byte_fallback"] = tokenizer["model"]["fuse_unk"] = false;
  expect_ids(folder.open(tokenizer),
             {{"ç€x", {5, 0, 0, 0}}, {"é", {5, 0}}, {"<s>ab</s>b", {1, 10, 2, 5, 7}}});
}

TEST(Encode, HeedsTheFlagsOfAddedTokens) {
  const Folder folder;
  Json tokenizer = moe_tokenizer();
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  for (const Json& token : {added_token(1024, "<a>", "lstrip rstrip"),
                            added_token(1025, "<a>b", ""), added_token(1026, "cat", "single_word"),
                            added_token(1027, "GO", "normalized"), added_token(1028, "    ", "")}) {
    tokenizer["added_tokens"].push_back(token);
  }
  expect_ids(folder.open(tokenizer),
             {{"x <a> \n y", {90, 1024, 91}},
              {"<a>b<a>", {1025, 1024}},
              {"cat cats cat, concat", {1026, 275, 272, 85, 223, 1026, 14, 591, 69, 272}},
              {"Go gO", {1027, 223, 1027}},
              {"go<a>    <a>", {1027, 1024, 1028, 1024}}});
}

TEST(Encode, AddsTheTokensAroundATextIfAskedTo) {
  const Folder folder;
  expect_ids(folder.open(llama_tokenizer()), {{"ab", {1, 10}}, {"b</s>", {1, 5, 7, 2}}},
             SpecialTokens::kAdd);
}

TEST(Encode, KnowsTheTokenThatBeginsAText) {
  const Folder folder;
  EXPECT_EQ((*folder.open(llama_tokenizer(), Json{{"bos_token", "<s>"}}))->bos(), "<s>");
  EXPECT_EQ((*folder.open(llama_tokenizer(), Json{{"bos_token", {{"content", "</s>"}}}}))->bos(),
            "</s>");
  EXPECT_EQ((*folder.open(llama_tokenizer(), Json{{"bos_token", nullptr}}))->bos(), std::nullopt);
}

TEST(Encode, TakesAWordWholeWhereMergesAreIgnored) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["normalizer"] = nullptr;
  tokenizer["model"]["merges"] = Json::array({"a a"});
  tokenizer["model"]["ignore_merges"] = true;
  expect_ids(folder.open(tokenizer), {{"ab", {9}}, {"aab", {12, 7}}});
}

TEST(Encode, RefusesKindsThatItCannotEncode) {
  const Folder folder;
  Json tokenizer = Json::parse(R"({"model": {"type": "WordPiece", "vocab": {"a": 0}}})");
  EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("it is of kind WordPiece, and only BPE"));
  tokenizer = Json::parse(R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}})");
  EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("it is of kind Unigram, and only BPE"));
}

TEST(Encode, RefusesAFolderWithoutTokenizerJson) {
  const ScratchFolder folder;
  EXPECT_THAT(open_encoder(folder.path("")).error().sentence, HasSubstr("no tokenizer"));
  folder.write("vocab.json", R"({"a": 0})");
  folder.write("merges.txt", "");
  EXPECT_THAT(open_encoder(folder.path("")).error().sentence, HasSubstr("no tokenizer.json"));
}

TEST(Encode, NamesTheRuleThatItDoesNotKnow) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["normalizer"] = {{"type", "Nmt"}};
  EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("its normalizer \"Nmt\" is none"));
  tokenizer["normalizer"] = nullptr;
  tokenizer["pre_tokenizer"] = sequence("pretokenizers", {{{"type", "BertPreTokenizer"}}});
  EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("its pre_tokenizer \"BertPreTokenizer\""));
}

TEST(Encode, RefusesPatternsThatMeanSomethingElseHere) {
  const Folder folder;
  Json tokenizer = moe_tokenizer();
  for (const char* regex : {"\\h+", "(?m:.)", "(?s).", "[", "a{2"}) {
    tokenizer["pre_tokenizer"] = split(regex);
    EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("is not understood")) << regex;
  }
}

TEST(Encode, RefusesPatternsThatTakeForever) {
  const Folder folder;
  Json tokenizer = moe_tokenizer();
  tokenizer["pre_tokenizer"] = split("(a|aa)+$");
  const auto encoder = folder.open(tokenizer);
  ASSERT_TRUE(encoder) << encoder.error().sentence;
  const auto ids = (*encoder)->encode(std::string(64, 'a') + "b");
  ASSERT_FALSE(ids);
  EXPECT_THAT(ids.error().sentence, HasSubstr("takes too many steps"));
}

TEST(Encode, RefusesTextsThatGrowWithoutBound) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1 << 20, 'a')}};
  const auto encoder = folder.open(tokenizer);
  ASSERT_TRUE(encoder) << encoder.error().sentence;
  EXPECT_THAT((*encoder)->encode(std::string(100, 'a')).error().sentence,
              HasSubstr("makes more than 16.8 MB of the text"));
}

TEST(Encode, RefusesMergesOfWhatIsNoToken) {
  const Folder folder;
  Json tokenizer = llama_tokenizer();
  tokenizer["model"]["merges"] = Json::array({"a z"});
  EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("the vocabulary lacks the token \"z\""));
  for (const Json& merge : {Json("ab"), Json("a b c"), Json::array({"a"}), Json(7)}) {
    tokenizer["model"]["merges"] = Json::array({merge});
    EXPECT_THAT(folder.refusal(tokenizer), HasSubstr("merge 1 is not two tokens")) << merge;
  }
}

TEST(Encode, RefusesTextThatIsNoUtf8) {
  const auto encoder = open_encoder(kMoe);
  ASSERT_TRUE(encoder);
  EXPECT_THAT((*encoder)->encode("a\xFFz").error().sentence, HasSubstr("not valid UTF-8"));
}

}  // namespace
}  // namespace hieron
