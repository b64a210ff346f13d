#include "hieron/merge/plan_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PlanFile : public testing::Test {
 protected:
  PlanFile() { write_model(folder_, "a", {{"w", DType::kF32, {4}, wave(1)}}); }

  std::shared_ptr<const Plan> plan(const std::string& yaml, const PlanOptions& options = {}) {
    const auto planned = plan_file(folder_.write("recipe.yml", yaml), options);
    EXPECT_TRUE(planned) << planned.error().sentence;
    return planned ? *planned : std::make_shared<const Plan>();
  }

  static std::vector<int> lines(const Plan& plan) {
    std::vector<int> lines;
    for (const Problem& problem : plan.problems) lines.push_back(problem.line);
    return lines;
  }

  ScratchFolder folder_;
};

const std::string kBroken =
    "merge_method: linear\n"                           // 1
    "dtype: bfloat61\n"                                // 2
    "models:\n"                                        // 3
    "- {model: a, parameters: {wieght: 0.5}}\n"        // 4
    "- {model: nowhere, parameters: {weight: 0.5}}\n"  // 5
    "- {model: neither, parameters: {weight: x}}\n"    // 6
    "dtype: float32\n";                                // 7

TEST_F(PlanFile, ListsEverythingThatIsWrongWithTheTextAndThenEveryMissingModel) {
  const auto refused = plan(kBroken);
  EXPECT_THAT(lines(*refused), ElementsAre(2, 4, 6, 7, 5, 6));
  EXPECT_THAT(refused->problems[3].sentence, HasSubstr("\"dtype\" stands twice"));
  EXPECT_THAT(refused->problems[4].sentence, HasSubstr("nowhere"));
  const Status first = executable(*refused);
  EXPECT_THAT(first.error().sentence, HasSubstr("recipe.yml, line 2: "));
  EXPECT_EQ(first.error().code, ErrorCode::kRefused);
  EXPECT_EQ(first.error().also, 5);
}

TEST_F(PlanFile, SaysSoInJsonWithFileAndLine) {
  const auto json =
      nlohmann::json::parse(plan("merge_method: lineer\nmodels: [{model: a}]\n")->to_json());
  ASSERT_EQ(json["problems"].size(), 1u);
  EXPECT_EQ(json["problems"][0]["line"], 1);
  EXPECT_EQ(json["problems"][0]["file"], folder_.path("recipe.yml"));
  EXPECT_TRUE(json["method"].is_null());
}

TEST_F(PlanFile, ListsEveryModelThatCannotBeOpenedOnceForEachLine) {
  folder_.write("damaged.safetensors", "no header");
  const auto refused = plan(
      "merge_method: linear\nbase_model: nowhere\nmodels:\n"
      "- {model: a, parameters: {weight: 1}}\n- {model: damaged.safetensors, parameters: {weight: "
      "1}}\n- {model: nowhere, parameters: {weight: 1}}\n");
  EXPECT_THAT(lines(*refused), ElementsAre(5, 6, 2));
  EXPECT_EQ(refused->problems[0].code, ErrorCode::kRefused);
  EXPECT_EQ(refused->problems[1].code, ErrorCode::kSystem);
  EXPECT_EQ(executable(*refused).error().also, 2);
}

TEST_F(PlanFile, LooksThroughEveryDocument) {
  const auto refused = plan(
      "name: half\nmerge_method: linear\nmodels: [{model: gone, parameters: {weight: 1}}]\n"
      "---\nmerge_method: passthrough\nmodels: [{modle: half}]\nout_dtype: float61\n");
  EXPECT_THAT(lines(*refused), ElementsAre(6, 6, 7, 3));
}

TEST_F(PlanFile, ListsTheProblemsOfADocumentThatAnotherIsMadeFrom) {
  write_model(folder_, "b", {{"w", DType::kF32, {5}, wave(1)}, {"v", DType::kF32, {5}, wave(1)}});
  write_model(folder_, "c", {{"w", DType::kF32, {4}, wave(1)}, {"v", DType::kF32, {4}, wave(1)}});
  const auto refused = plan(
      "name: half\nmerge_method: linear\nmodels:\n- {model: b, parameters: {weight: 1}}\n"
      "- {model: c, parameters: {weight: 1}}\n---\nmerge_method: passthrough\nmodels: [{model: "
      "half}]\n");
  ASSERT_EQ(refused->problems.size(), 2u);
  EXPECT_THAT(refused->problems[1].sentence, HasSubstr("tensor \"v\" has shape [5]"));
}

TEST_F(PlanFile, ListsEverythingThatIsWrongWithAMixture) {
  const auto refused = plan(
      "base_model: a\ngate_mode: chepa_embed\nexperts:\n- {source_model: gone, noise_scale: x}\n"
      "- {source_model: away}\n");
  EXPECT_THAT(lines(*refused), ElementsAre(2, 4, 4, 5));
}

TEST_F(PlanFile, AWrongOptionIsNoProblemOfTheRecipe) {
  const auto planned = plan_file(
      folder_.write("recipe.yml",
                    "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"),
      {.arithmetic = "exakt"});
  ASSERT_FALSE(planned);
  EXPECT_EQ(planned.error().code, ErrorCode::kUsage);
}

TEST_F(PlanFile, TellsAnAdapterFromAModel) {
  std::filesystem::create_directories(folder_.path("lora"));
  folder_.write("lora/adapter_config.json", "{}");
  for (const bool weights : {false, true}) {
    if (weights) {
      std::filesystem::copy(folder_.path("a/model.safetensors"),
                            folder_.path("lora/adapter_model.safetensors"));
    }
    const auto refused = plan("merge_method: passthrough\nmodels: [{model: lora}]\n");
    ASSERT_EQ(refused->problems.size(), 1u);
    EXPECT_THAT(refused->problems[0].sentence,
                HasSubstr("line 2: \"lora\" is a LoRA adapter, not a model"));
    EXPECT_THAT(refused->problems[0].sentence, HasSubstr("base+lora"));
    EXPECT_EQ(refused->problems[0].code, ErrorCode::kRefused);
  }
  std::filesystem::copy(folder_.path("a/model.safetensors"),
                        folder_.path("lora/model.safetensors"));
  EXPECT_TRUE(plan("merge_method: passthrough\nmodels: [{model: lora}]\n")->problems.empty());
}

// ---- mixtures: moe/mixtral.py and qwen3.py of mergekit 0.1.5 fuse the experts, qwen.py and
// deepseek.py write one by one.

class Layout : public PlanFile, public testing::WithParamInterface<const char*> {
 protected:
  void write_dense(const std::string& type) {
    const auto vector = [](const std::string& name) {
      return ScratchTensor{name, DType::kBF16, {16}, wave(1)};
    };
    std::vector<ScratchTensor> tensors{
        {"model.embed_tokens.weight", DType::kBF16, {8, 16}, wave(1)}, vector("model.norm.weight")};
    const std::string layer = "model.layers.0.";
    tensors.push_back(vector(layer + "input_layernorm.weight"));
    tensors.push_back(vector(layer + "post_attention_layernorm.weight"));
    for (const char* part : {"q", "k", "v", "o"}) {
      tensors.push_back(
          {layer + "self_attn." + part + "_proj.weight", DType::kBF16, {16, 16}, wave(2)});
    }
    for (const char* part : {"gate", "up", "down"}) {
      const Shape shape = part[0] == 'd' ? Shape{16, 32} : Shape{32, 16};
      tensors.push_back({layer + "mlp." + part + "_proj.weight", DType::kBF16, shape, wave(3)});
    }
    write_model(folder_, "dense", tensors,
                R"({"model_type": ")" + type +
                    R"(", "num_hidden_layers": 1, "hidden_size": 16, "vocab_size": 8})");
  }

  std::shared_ptr<const Plan> mixture(const std::string& architecture, const std::string& layout,
                                      const std::string& arithmetic) {
    const std::string expert = "- {source_model: dense, positive_prompts: [x]}\n";
    const std::string shared = architecture == "qwen" ? "shared_experts:\n" + expert : "";
    const auto made =
        plan("base_model: dense\ngate_mode: random\narchitecture: " + architecture +
                 "\nhieron: {experts: " + layout + "}\nexperts:\n" + expert + expert + shared,
             {.arithmetic = arithmetic});
    EXPECT_EQ(problems_of(*made), "");
    return made;
  }

  static bool fused(const Plan& plan) {
    return std::ranges::any_of(plan.tensors, [](const PlannedTensor& tensor) {
      return tensor.name == "model.layers.0.mlp.experts.gate_up_proj";
    });
  }
};

TEST_P(Layout, OfAMixtureIsThatOfMergekit015) {
  const std::string architecture = GetParam();
  write_dense(architecture == "qwen3" ? "qwen3" : "llama");
  const bool fuses = architecture == "mixtral" || architecture == "qwen3";
  for (const char* layout : {"fused", "separate"}) {
    EXPECT_EQ(fused(*mixture(architecture, layout, "mergekit-0.1.5")), fuses);
  }
}

TEST_P(Layout, OfAMixtureIsTheRecipesUnderExact) {
  const std::string architecture = GetParam();
  write_dense(architecture == "qwen3" ? "qwen3" : "llama");
  EXPECT_TRUE(fused(*mixture(architecture, "fused", "exact")));
  EXPECT_FALSE(fused(*mixture(architecture, "separate", "exact")));
}

INSTANTIATE_TEST_SUITE_P(PlanFile, Layout, testing::Values("mixtral", "deepseek", "qwen", "qwen3"));

}  // namespace
}  // namespace hieron
