#include "hieron/merge/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;

constexpr const char* kConfig =
    R"({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 3, "torch_dtype": "bfloat16",
        "layer_types": ["a", "b", "c"], "mlp_only_layers": [0], "vocab_size": 4})";

// Embedding, three layers of two tensors, final norm, head.
std::vector<ScratchTensor> llama(double phase, DType dtype = DType::kBF16) {
  std::vector<ScratchTensor> tensors{{"model.embed_tokens.weight", dtype, {4, 8}, wave(phase)}};
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    tensors.push_back({prefix + "mlp.up_proj.weight", dtype, {8, 8}, wave(phase + layer)});
    tensors.push_back(
        {prefix + "self_attn.q_proj.weight", dtype, {8, 8}, wave(phase + layer + 0.5)});
  }
  tensors.push_back({"model.norm.weight", dtype, {8}, wave(phase + 9)});
  tensors.push_back({"lm_head.weight", dtype, {4, 8}, wave(phase + 10)});
  return tensors;
}

std::string two_models(const std::string& more = {}) {
  return "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.6}}\n"
         "- {model: b, parameters: {weight: 0.4}}\n" +
         more;
}

const PlannedTensor& tensor(const Plan& plan, std::string_view name) {
  const auto it = std::ranges::find(plan.tensors, name, &PlannedTensor::name);
  EXPECT_NE(it, plan.tensors.end()) << name;
  return *it;
}

double weight(const Plan& plan, std::string_view name, size_t model) {
  return tensor(plan, name).parameters->per_model[model].at("weight");
}

std::shared_ptr<const Plan> must_plan(const ScratchFolder& folder, const std::string& yaml,
                                      const PlanOptions& options = {}) {
  auto plan = plan_of(folder, yaml, options);
  EXPECT_TRUE(plan) << plan.error().sentence;
  return plan ? *plan : std::make_shared<Plan>();
}

TEST(Plan, ListsEveryTensorInTheLeadersFileOrder) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const auto plan = must_plan(folder, two_models());
  EXPECT_EQ(problems_of(*plan), "");
  ASSERT_EQ(plan->tensors.size(), 9u);
  EXPECT_EQ(plan->tensors.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(plan->shards.size(), 1u);
  EXPECT_EQ(plan->shards[0].name, "model.safetensors");
  EXPECT_EQ(plan->shards[0].header.size() % 4096, 0u);
  EXPECT_EQ(plan->accounting.size(), 18u);
}

TEST(Plan, FillsShardsGreedilyAndGivesABigTensorItsOwn) {
  const ScratchFolder folder;
  write_model(folder, "a",
              {{"x", DType::kF32, {4}, wave(1)},
               {"y", DType::kF32, {100}, wave(1)},
               {"z", DType::kF32, {4}, wave(1)},
               {"zz", DType::kF32, {4}, wave(1)}});
  const auto plan = must_plan(folder, "merge_method: passthrough\nmodels: [{model: a}]\n",
                              {.arithmetic = {}, .shard_bytes = 40});
  ASSERT_EQ(plan->shards.size(), 3u);
  EXPECT_EQ(plan->shards[1].name, "model-00002-of-00003.safetensors");
  EXPECT_EQ(plan->shards[1].count, 1u);
  EXPECT_EQ(plan->shards[2].count, 2u);
}

TEST(Plan, WarnsOfAParameterOfTheMergeUnderOneModel) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const auto plan =
      must_plan(folder,
                "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: 0.6\n"
                "    normalize: false\n- {model: b, parameters: {weight: 0.6}}\n");
  EXPECT_EQ(problems_of(*plan), "");
  ASSERT_EQ(plan->warnings.size(), 1u);
  EXPECT_THAT(plan->warnings[0], HasSubstr("line 6: normalize under a model has no effect"));
  EXPECT_EQ(tensor(*plan, "model.norm.weight").parameters->global.at("normalize"), 1.0);
}

TEST(Plan, FusesTheExpertsOfALayerWhereMergekitDoes) {
  const ScratchFolder folder;
  for (const char* model : {"a", "b"}) {
    std::vector<ScratchTensor> tensors;
    for (const char* expert :
         {"0.gate_proj", "0.up_proj", "0.down_proj", "1.gate_proj", "1.up_proj", "1.down_proj"}) {
      tensors.push_back({"model.layers.0.mlp.experts." + std::string(expert) + ".weight",
                         DType::kBF16,
                         {4, 4},
                         wave(1)});
    }
    write_model(folder, model, tensors);
  }
  const auto fused = must_plan(folder, two_models("hieron: {arithmetic: mergekit-0.1.5}\n"));
  ASSERT_EQ(fused->tensors.size(), 2u);
  EXPECT_EQ(fused->tensors[0].name, "model.layers.0.mlp.experts.gate_up_proj");
  EXPECT_EQ(fused->tensors[0].shape(), (Shape{2, 8, 4}));
  EXPECT_EQ(must_plan(folder, two_models())->tensors.size(), 6u);
}

TEST(Plan, GradientsRunOverTheLayersAndStartAtTheEmbedding) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1), kConfig);
  write_model(folder, "b", llama(2), kConfig);
  const auto plan =
      must_plan(folder,
                "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: [0.1, 0.9]}}\n"
                "- {model: b, parameters: {weight: 0.5}}\n");
  EXPECT_EQ(weight(*plan, "model.layers.0.mlp.up_proj.weight", 0), 0.1);
  EXPECT_EQ(weight(*plan, "model.layers.1.mlp.up_proj.weight", 0), 0.5);
  EXPECT_EQ(weight(*plan, "model.layers.2.mlp.up_proj.weight", 0), 0.9);
  EXPECT_EQ(weight(*plan, "model.embed_tokens.weight", 0), 0.1);
  EXPECT_EQ(weight(*plan, "lm_head.weight", 0), 0.1);
}

TEST(Plan, TheNearestLevelWins) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1), kConfig);
  write_model(folder, "b", llama(2), kConfig);
  const auto plan = must_plan(
      folder,
      "merge_method: linear\nparameters: {weight: 0.1}\nslices:\n"
      "- parameters: {weight: 0.2}\n  sources:\n"
      "  - {model: a, layer_range: [0, 3], parameters: {weight: [{filter: mlp, value: 0.3}]}}\n"
      "  - {model: b, layer_range: [0, 3]}\n");
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(weight(*plan, "model.layers.0.mlp.up_proj.weight", 0), 0.3);
  EXPECT_EQ(weight(*plan, "model.layers.0.self_attn.q_proj.weight", 0), 0.2);
  EXPECT_EQ(weight(*plan, "model.layers.0.mlp.up_proj.weight", 1), 0.2);
}

TEST(Plan, StacksLayersAndRewritesTheConfig) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1), kConfig);
  write_model(folder, "b", llama(2), kConfig);
  const auto plan =
      must_plan(folder,
                "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n"
                "- sources: [{model: b, layer_range: [0, 3]}]\n");
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(plan->tensors.size(), 1u + 5 * 2 + 2);
  const PlannedTensor& moved = tensor(*plan, "model.layers.3.mlp.up_proj.weight");
  EXPECT_EQ(moved.inputs[0].tensor->name, "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(plan->slots[moved.inputs[0].slot], 1u);
  EXPECT_EQ(moved.rule, Rule::kCopied);
  EXPECT_EQ(plan->slots[tensor(*plan, "model.embed_tokens.weight").inputs[0].slot], 0u);
  EXPECT_EQ(plan->slots[tensor(*plan, "lm_head.weight").inputs[0].slot], 1u);
  const auto config = nlohmann::json::parse(plan->config_json);
  EXPECT_EQ(config["num_hidden_layers"], 5);
  EXPECT_EQ(config["layer_types"], (std::vector<std::string>{"a", "b", "a", "b", "c"}));
  EXPECT_EQ(config["mlp_only_layers"], (std::vector<int>{0, 2}));
  EXPECT_EQ(config["vocab_size"], 4);
}

TEST(Plan, AccountsForEveryTensorOfEveryModel) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1), kConfig);
  write_model(folder, "b", llama(2), kConfig);
  const auto plan =
      must_plan(folder,
                "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n"
                "- sources: [{model: b, layer_range: [2, 3]}]\n");
  size_t dropped = 0;
  for (const AccountedTensor& a : plan->accounting) dropped += a.rule == Rule::kDropped;
  EXPECT_EQ(plan->accounting.size(), 18u);
  EXPECT_EQ(dropped, 2u + 2 + 4 + 1);
}

TEST(Plan, AMergeOfAModelWithOtherLayersOfItselfHasTwoSlots) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1), kConfig);
  const auto plan = must_plan(folder,
                              "merge_method: linear\nslices:\n- sources:\n"
                              "  - {model: a, layer_range: [0, 2], parameters: {weight: 1}}\n"
                              "  - {model: a, layer_range: [1, 3], parameters: {weight: 1}}\n");
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(plan->slots.size(), 2u);
  EXPECT_EQ(plan->models.size(), 1u);
  const PlannedTensor& merged = tensor(*plan, "model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(merged.inputs[1].tensor->name, "model.layers.2.mlp.up_proj.weight");
}

TEST(Plan, RefusesShapesThatDiffer) {
  const ScratchFolder folder;
  write_model(folder, "a", {{"w", DType::kF32, {4, 2}, wave(1)}});
  write_model(folder, "b", {{"w", DType::kF32, {2, 4}, wave(1)}});
  const auto plan = must_plan(folder, two_models());
  EXPECT_THAT(problems_of(*plan), HasSubstr("\"w\" has shape [4, 2] in \"a\" but [2, 4] in \"b\""));
  ASSERT_FALSE(executable(*plan));
  EXPECT_EQ(executable(*plan).error().code, ErrorCode::kRefused);
}

TEST(Plan, RefusesQuantisedCodes) {
  const ScratchFolder folder;
  for (const char* name : {"a", "b"}) {
    write_model(folder, name,
                {{"l.weight", DType::kF8E4M3, {4, 4}, wave(1)},
                 {"l.weight_scale_inv", DType::kF32, {1, 1}, wave(1)}});
  }
  EXPECT_THAT(problems_of(*must_plan(folder, two_models("dtype: bfloat16\n"))),
              HasSubstr("quantised codes about to be averaged as numbers"));
}

TEST(Plan, PassesQuantisedCodesThrough) {
  const ScratchFolder folder;
  write_model(folder, "a",
              {{"l.weight", DType::kF8E4M3, {4, 4}, wave(1)},
               {"l.weight_scale_inv", DType::kF32, {1, 1}, wave(1)}});
  const auto plan = must_plan(folder, "merge_method: passthrough\nmodels: [{model: a}]\n");
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(tensor(*plan, "l.weight").rule, Rule::kCopied);
}

TEST(Plan, CopiesIntegersFromTheFirstModel) {
  const ScratchFolder folder;
  for (const char* name : {"a", "b"}) {
    write_model(folder, name,
                {{"position_ids", DType::kI64, {4}, [](size_t i) { return double(i); }},
                 {"w", DType::kF32, {4}, wave(1)}});
  }
  const auto plan = must_plan(folder, two_models());
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(tensor(*plan, "position_ids").rule, Rule::kCopied);
  EXPECT_EQ(tensor(*plan, "position_ids").inputs.size(), 1u);
}

TEST(Plan, RefusesWeightsThatSumToZeroUnlessAVersionIsReplayed) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const std::string yaml =
      "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.5}}\n"
      "- {model: b, parameters: {weight: -0.5}}\n";
  const auto plan = must_plan(folder, yaml);
  EXPECT_THAT(problems_of(*plan), HasSubstr("the weights sum to zero"));
  EXPECT_EQ(plan->problems.size(), 1u);
  const auto replayed = must_plan(folder, yaml, {.arithmetic = "mergekit-0.1.5"});
  EXPECT_EQ(problems_of(*replayed), "");
  EXPECT_THAT(replayed->warnings, testing::Contains(HasSubstr("written all the same")));
}

TEST(Plan, SaysWhichModelHasNoWeight) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const auto plan = plan_of(
      folder, "merge_method: linear\nmodels:\n- model: a\n- {model: b, parameters: {weight: 1}}\n");
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().sentence,
              HasSubstr("line 3: the model \"a\" has no weight, which linear needs"));
  EXPECT_EQ(plan.error().also, 0);
}

TEST(Plan, MergesATensorThatSomeModelsLackWithAWarning) {
  const ScratchFolder folder;
  write_model(folder, "a", {{"w", DType::kF32, {4}, wave(1)}});
  write_model(folder, "b",
              {{"w", DType::kF32, {4}, wave(2)}, {"extra", DType::kF32, {4}, wave(3)}});
  const auto plan = must_plan(folder, two_models());
  EXPECT_EQ(problems_of(*plan), "");
  EXPECT_EQ(tensor(*plan, "extra").inputs.size(), 1u);
  EXPECT_THAT(plan->warnings, testing::Contains(HasSubstr("\"extra\" (1 of 2 models)")));
}

TEST(Plan, OneModelUnderTwoSpellingsIsOneModel) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  const auto plan = must_plan(
      folder, "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n- {model: /" +
                  folder.path("a") + "/, parameters: {weight: 1}}\n");
  EXPECT_EQ(plan->models.size(), 1u);
  EXPECT_THAT(plan->warnings, testing::Contains(HasSubstr("is listed twice")));
  EXPECT_EQ(problems_of(*plan), "");
}

TEST(Plan, RefusesABaseThatLinearWouldNotUse) {
  const ScratchFolder folder;
  for (const char* name : {"a", "b", "c"}) write_model(folder, name, llama(1));
  EXPECT_THAT(problems_of(*must_plan(folder, two_models("base_model: c\n"))),
              HasSubstr("is not among the models"));
}

TEST(Plan, ComputesInTheWidestDtypeUnlessOneIsGiven) {
  const ScratchFolder folder;
  write_model(folder, "a", {{"w", DType::kBF16, {4}, wave(1)}});
  write_model(folder, "b", {{"w", DType::kF16, {4}, wave(1)}});
  EXPECT_EQ(tensor(*must_plan(folder, two_models()), "w").dtype, DType::kF32);
  const auto plan = must_plan(folder, two_models("dtype: float32\nout_dtype: bfloat16\n"));
  EXPECT_EQ(tensor(*plan, "w").working, DType::kF32);
  EXPECT_EQ(tensor(*plan, "w").dtype, DType::kBF16);
}

TEST(Plan, AMissingModelIsASystemErrorWithItsLine) {
  const ScratchFolder folder;
  const auto plan = plan_of(folder, two_models());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kSystem);
  EXPECT_THAT(plan.error().sentence, HasSubstr("line 3"));
}

std::vector<std::string> warnings_of_filters(const std::string& filters) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const auto plan = must_plan(folder,
                              "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: "
                              "1}}\n- model: b\n  parameters:\n    weight:\n" +
                                  filters + "    - value: 0.5\n");
  EXPECT_EQ(problems_of(*plan), "");
  return plan->warnings;
}

TEST(Plan, WarnsOfAFilterThatNoTensorMatches) {
  EXPECT_THAT(warnings_of_filters("    - filter: self_attn\n      value: 0.1\n"
                                  "    - filter: self_atn\n      value: 0.2\n"
                                  "    - filter: vision\n      value: 0.3\n"),
              testing::ElementsAre(
                  testing::AllOf(HasSubstr("line 9: no tensor's name contains \"self_atn\""),
                                 HasSubstr("did you mean \"self_attn\"?")),
                  testing::AllOf(HasSubstr("line 11: no tensor's name contains \"vision\""),
                                 testing::Not(HasSubstr("did you mean")))));
  EXPECT_THAT(warnings_of_filters("    - filter: layers.2.mlp\n      value: 0.1\n"),
              testing::IsEmpty());
}

TEST(Plan, TheDigestNamesWhatDecidesTheOutput) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const std::string digest = must_plan(folder, two_models())->digest();
  EXPECT_EQ(must_plan(folder, two_models())->digest(), digest);
  EXPECT_NE(must_plan(folder, two_models("dtype: float16\n"))->digest(), digest);
  EXPECT_NE(must_plan(folder, two_models(), {.arithmetic = "f32-fma"})->digest(), digest);
}

TEST(Plan, IsValidJson) {
  const ScratchFolder folder;
  write_model(folder, "a", llama(1));
  write_model(folder, "b", llama(2));
  const auto json = nlohmann::json::parse(must_plan(folder, two_models())->to_json());
  EXPECT_EQ(json["schema"], "hieron.plan/1");
  EXPECT_EQ(json["tensors"].size(), 9u);
  EXPECT_EQ(json["tensors"][0]["parameters"]["weight"], (std::vector<double>{0.6, 0.4}));
}

}  // namespace
}  // namespace hieron
