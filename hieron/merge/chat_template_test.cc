#include "hieron/merge/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hieron {
namespace {

using testing::HasSubstr;
using Inputs = std::vector<std::optional<std::string>>;

constexpr const char* kOwn = "{{ messages[0].content }}";

std::string chosen(std::string_view wish, const Inputs& inputs = {}) {
  const auto found = chat_template_of(wish, inputs);
  if (!found) return found.error().sentence;
  return found->value_or("none");
}

TEST(ChatTemplate, AutoIsTheOneThatMostInputsHave) {
  EXPECT_EQ(chosen("auto", {{"a"}, {"b"}, {}, {"b"}}), "b");
}

TEST(ChatTemplate, OfEquallyFrequentOnesAutoTakesTheFirstInputs) {
  EXPECT_EQ(chosen("auto", {{}, {"b"}, {"a"}, {"a"}, {"b"}}), "b");
}

TEST(ChatTemplate, AutoComparesWithoutTheSpaceAround) {
  EXPECT_EQ(chosen("auto", {{"a"}, {"b\n"}, {" b"}}), "b");
}

TEST(ChatTemplate, AutoFindsNothingWhereNoInputHasOne) {
  EXPECT_EQ(chosen("auto", {{}, {" \n"}}), "none");
}

TEST(ChatTemplate, EveryNamedFormatIsATemplateOfItsOwn) {
  for (const std::string_view name : chat_template_names()) {
    EXPECT_THAT(chosen(name), HasSubstr("for message in messages")) << name;
    EXPECT_EQ(chosen(name), chosen(name, {{kOwn}}));
  }
}

TEST(ChatTemplate, AnythingLongEnoughWithABraceIsTheTemplateItself) {
  EXPECT_EQ(chosen(kOwn), kOwn);
}

TEST(ChatTemplate, LengthIsInCharacters) {
  EXPECT_THAT(chosen("{{ äöüäöüäöüäöü }}"), HasSubstr("too short"));  // 18, in 30 bytes
}

TEST(ChatTemplate, RefusesAMisspeltNameWithTheOneMeant) {
  EXPECT_THAT(chosen("chatlm"), HasSubstr("did you mean \"chatml\"?"));
  EXPECT_THAT(chosen("llama 3"), HasSubstr("did you mean \"llama3\"?"));
}

TEST(ChatTemplate, RefusesWhatIsTooShortOrHasNoBrace) {
  EXPECT_THAT(chosen("{{ m }}"), HasSubstr("too short for a Jinja template"));
  EXPECT_THAT(chosen("a template without any placeholder"), HasSubstr("neither auto nor one of"));
  EXPECT_THAT(chosen("{{ message }} \xFF\xFE bytes"), HasSubstr("not valid UTF-8"));
}

std::string text(const std::vector<TokenizerFile>& files, std::string_view name) {
  for (const TokenizerFile& file : files) {
    if (file.name == name) return file.text;
  }
  return "(no such file)";
}

TEST(SetChatTemplate, ChangesOneValueOfTheConfig) {
  std::vector<TokenizerFile> files{
      {"tokenizer_config.json",
       "{\n  \"chat_template\": [{\"name\": \"default\", \"template\": \"x\"}],\n"
       "  \"model_max_length\": 1000000000000000019884624838656\n}\n"}};
  ASSERT_TRUE(set_chat_template(files, "{{ \"a\" }}\n"));
  EXPECT_EQ(text(files, "tokenizer_config.json"),
            "{\n  \"chat_template\": \"{{ \\\"a\\\" }}\\n\",\n"
            "  \"model_max_length\": 1000000000000000019884624838656\n}\n");
}

TEST(SetChatTemplate, ReplacesTheFilesThatWouldWinOverTheConfig) {
  std::vector<TokenizerFile> files{{"tokenizer_config.json", "{}"},
                                   {"chat_template.jinja", "old"},
                                   {"chat_template.json", R"({"chat_template": "old"})"}};
  ASSERT_TRUE(set_chat_template(files, "new"));
  EXPECT_EQ(text(files, "chat_template.jinja"), "new");
  EXPECT_EQ(text(files, "chat_template.json"), R"({"chat_template": "new"})");
}

TEST(SetChatTemplate, MakesAConfigWhereThereIsNone) {
  std::vector<TokenizerFile> files;
  ASSERT_TRUE(set_chat_template(files, "new"));
  EXPECT_THAT(text(files, "tokenizer_config.json"), HasSubstr(R"("chat_template": "new")"));
}

TEST(SetChatTemplate, RefusesADamagedConfig) {
  std::vector<TokenizerFile> files{{"tokenizer_config.json", "{"}};
  EXPECT_FALSE(set_chat_template(files, "new"));
}

}  // namespace
}  // namespace hieron
