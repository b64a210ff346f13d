#include "hieron/model/config.h"

#include <gtest/gtest.h>

#include <string>

namespace hieron {
namespace {

std::string refusal(std::string_view json) {
  const auto config = parse_config(json, "config.json");
  EXPECT_FALSE(config) << json;
  return config ? "" : config.error().sentence;
}

TEST(Config, ReadsAPlainDecoder) {
  const auto config = parse_config(
      R"({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 94,
          "hidden_size": 4096, "vocab_size": 151936, "num_experts": 128, "tie_word_embeddings": false,
          "torch_dtype": "bfloat16"})",
      "config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->architecture, "Qwen3MoeForCausalLM");
  EXPECT_EQ(config->model_type, "qwen3_moe");
  EXPECT_EQ(config->layers, 94u);
  EXPECT_EQ(config->hidden_size, 4096u);
  EXPECT_EQ(config->vocab_size, 151936u);
  EXPECT_EQ(config->experts, 128u);
  EXPECT_EQ(config->tied, false);
  EXPECT_EQ(config->dtype, "bfloat16");
  EXPECT_EQ(config->quantization, "");
}

TEST(Config, LooksIntoTheTextModelOfAMultimodalOne) {
  const auto config = parse_config(
      R"({"architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe",
          "text_config": {"num_hidden_layers": 60, "hidden_size": 4096, "vocab_size": 248320,
                          "num_experts": 512, "model_type": "qwen3_5_moe_text", "dtype": "bfloat16"},
          "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27}})",
      "config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->model_type, "qwen3_5_moe");
  EXPECT_EQ(config->layers, 60u);
  EXPECT_EQ(config->hidden_size, 4096u);
  EXPECT_EQ(config->experts, 512u);
  EXPECT_EQ(config->dtype, "bfloat16");
  EXPECT_EQ(config->tied, std::nullopt);
}

TEST(Config, KnowsTheOldNamesAndTheQuantisation) {
  const auto config = parse_config(
      R"({"n_layer": 12, "n_embd": 768, "quantization_config": {"quant_method": "fp8"}})",
      "config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->layers, 12u);
  EXPECT_EQ(config->hidden_size, 768u);
  EXPECT_EQ(config->quantization, "fp8");
}

TEST(Config, TakesNullAndEmptyForAbsent) {
  const auto config = parse_config(
      R"({"architectures": null, "num_hidden_layers": null, "torch_dtype": null, "vocab_size": 5})",
      "config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->architecture, "");
  EXPECT_EQ(config->layers, std::nullopt);
  EXPECT_TRUE(parse_config("{}", "config.json"));
  EXPECT_TRUE(parse_config(R"({"architectures": []})", "config.json"));
}

TEST(Config, RefusesDamagedJsonAndSaysWhere) {
  EXPECT_EQ(refusal(R"({"num_hidden_layers": 12,)"),
            "config.json: not valid JSON at byte 26 of 25; fetch the file again");
  EXPECT_NE(refusal("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refusal(R"({"vocab_size": 1e999})"), "");
  EXPECT_NE(refusal("{\"a\": \"\xff\"}"), "");
}

TEST(Config, RefusesWrongTypesAndNamesTheKey) {
  EXPECT_EQ(
      refusal(R"({"num_hidden_layers": "12"})"),
      "config.json: \"num_hidden_layers\" should be a whole number, but it is \"12\"; correct "
      "it, or fetch the file again");
  EXPECT_NE(refusal(R"({"text_config": {"hidden_size": -1}})").find("text_config.hidden_size"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"vocab_size": 1.5})").find("1.5"), std::string::npos);
  EXPECT_NE(refusal(R"({"tie_word_embeddings": "yes"})").find("true or false"), std::string::npos);
  EXPECT_NE(refusal(R"({"architectures": "LlamaForCausalLM"})").find("a list"), std::string::npos);
  EXPECT_NE(refusal(R"({"architectures": [1]})").find("a list"), std::string::npos);
  EXPECT_NE(refusal(R"({"quantization_config": 4})").find("an object"), std::string::npos);
  EXPECT_NE(refusal(R"([1])").find("JSON object"), std::string::npos);
}

TEST(Config, NeverPrintsControlCharactersOfTheFile) {
  const std::string sentence = refusal("{\"num_hidden_layers\": \"\\u001b[2J\\u202e\"}");
  EXPECT_EQ(sentence.find('\x1b'), std::string::npos);
  EXPECT_EQ(sentence.find("\xe2\x80\xae"), std::string::npos);
}

TEST(Config, SurvivesDeepNesting) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_NE(refusal(deep), "");
  EXPECT_TRUE(parse_config("{\"x\": " + deep + ", \"vocab_size\": 7}", "config.json"));
}

}  // namespace
}  // namespace hieron
