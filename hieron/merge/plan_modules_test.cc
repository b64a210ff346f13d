// Recipes with `modules:`, planned and carried out on checkpoints named like those of LLaVA,
// Qwen2-VL, T5 and Whisper.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "hieron/io/file.h"
#include "hieron/merge/computed.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using Tensors = std::vector<ScratchTensor>;

// Every element of a tensor is this number, so that a merge can be read off.
ScratchTensor filled(const std::string& name, double value) {
  return {name, DType::kF32, {4}, [value](size_t) { return value; }};
}

// Layer n of a row is filled with value + n.
void add_row(Tensors& tensors, const std::string& prefix, int layers,
             const std::vector<std::string>& kinds, double value) {
  for (int layer = 0; layer < layers; ++layer) {
    for (const std::string& kind : kinds) {
      tensors.push_back(filled(prefix + "." + std::to_string(layer) + "." + kind, value + layer));
    }
  }
}

Tensors t5(double value) {
  Tensors tensors;
  add_row(tensors, "decoder.block", 3,
          {"layer.0.SelfAttention.q.weight", "layer.1.EncDecAttention.q.weight",
           "layer.2.DenseReluDense.wo.weight"},
          value + 30);
  tensors.push_back(
      filled("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", value + 39));
  tensors.push_back(filled("decoder.final_layer_norm.weight", value + 38));
  add_row(tensors, "encoder.block", 2,
          {"layer.0.SelfAttention.q.weight", "layer.1.DenseReluDense.wo.weight",
           "layer.1.layer_norm.weight"},
          value + 20);
  tensors.push_back(filled("encoder.final_layer_norm.weight", value + 28));
  tensors.push_back(filled("lm_head.weight", value + 41));
  tensors.push_back(filled("shared.weight", value + 40));
  return tensors;
}
constexpr const char* kT5 =
    R"({"architectures": ["T5ForConditionalGeneration"], "num_layers": 2, "num_decoder_layers": 3})";

Tensors whisper(double value) {
  Tensors tensors{filled("model.decoder.embed_tokens.weight", value + 31)};
  const std::vector<std::string> kinds{"self_attn.q_proj.weight", "fc1.weight",
                                       "final_layer_norm.weight"};
  add_row(tensors, "model.decoder.layers", 3, kinds, value + 30);
  tensors.push_back(filled("model.encoder.conv1.weight", value + 21));
  add_row(tensors, "model.encoder.layers", 2, kinds, value + 20);
  return tensors;
}
constexpr const char* kWhisper =
    R"({"architectures": ["WhisperForConditionalGeneration"], "encoder_layers": 2,
        "decoder_layers": 3, "num_hidden_layers": 2})";

Tensors llava(double value) {
  Tensors tensors{filled("language_model.lm_head.weight", value + 18),
                  filled("language_model.model.embed_tokens.weight", value + 19)};
  add_row(tensors, "language_model.model.layers", 3,
          {"input_layernorm.weight", "mlp.up_proj.weight", "self_attn.q_proj.weight"}, value + 10);
  tensors.push_back(filled("multi_modal_projector.linear_1.weight", value + 29));
  add_row(tensors, "vision_tower.encoder.layers", 2,
          {"layer_norm1.weight", "mlp.fc1.weight", "self_attn.q_proj.weight"}, value + 20);
  return tensors;
}
constexpr const char* kLlava =
    R"({"architectures": ["LlavaForConditionalGeneration"], "vision_feature_layer": -2,
        "text_config": {"num_hidden_layers": 3, "layer_types": ["x", "y", "z"]},
        "vision_config": {"num_hidden_layers": 2}})";

Tensors qwen2_vl(double value) {
  Tensors tensors{filled("lm_head.weight", value + 18),
                  filled("model.embed_tokens.weight", value + 19)};
  add_row(tensors, "model.layers", 3,
          {"input_layernorm.weight", "mlp.up_proj.weight", "self_attn.q_proj.weight"}, value + 10);
  add_row(tensors, "visual.blocks", 2, {"norm1.weight", "mlp.fc1.weight", "attn.qkv.weight"},
          value + 20);
  tensors.push_back(filled("visual.merger.mlp.0.weight", value + 28));
  tensors.push_back(filled("visual.merger.mlp.2.weight", value + 29));
  return tensors;
}
constexpr const char* kQwen2Vl =
    R"({"architectures": ["Qwen2VLForConditionalGeneration"], "num_hidden_layers": 3,
        "layer_types": ["x", "y", "z"], "vision_config": {"depth": 2}})";

// Models a and b, of which b's numbers are greater by 100.
class Modules : public testing::Test {
 protected:
  void write(Tensors (*model)(double), const std::string& config) {
    write_model(folder_, "a", model(0), config);
    write_model(folder_, "b", model(100), config);
  }

  std::shared_ptr<const Plan> plan(const std::string& yaml, const PlanOptions& options = {}) {
    auto plan = plan_of(folder_, yaml, options);
    EXPECT_TRUE(plan) << plan.error().sentence;
    return plan ? *plan : std::make_shared<const Plan>();
  }

  // Executes, and reads back the first number of every tensor.
  std::map<std::string, double> merge(const std::string& yaml, const PlanOptions& options = {}) {
    const auto planned = plan(yaml, options);
    EXPECT_EQ(problems_of(*planned), "");
    const std::string out = folder_.path("out" + std::to_string(++merges_));
    const auto done = execute(*planned, out, {});
    EXPECT_TRUE(done) << done.error().sentence;
    std::map<std::string, double> values;
    const auto written = open_checkpoint(out);
    if (!written) return values;
    for (const TensorInfo& tensor : (*written)->tensors) {
      float value[4];
      EXPECT_TRUE(
          read_elements(**written, tensor, 0, std::as_writable_bytes(std::span<float>(value))));
      values[tensor.name] = value[0];
    }
    config_ = nlohmann::json::parse((*written)->config_json);
    return values;
  }

  ScratchFolder folder_;
  nlohmann::json config_;  // of the last merge
  int merges_ = 0;
};

constexpr const char* kBoth = "models: [{model: a}, {model: b}]";

TEST_F(Modules, AreMergedEachByItsOwnParameters) {
  write(t5, kT5);
  const auto out = merge(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  encoder:\n    models:\n"
      "    - {model: a, parameters: {weight: 3}}\n    - model: b\n"
      "  decoder:\n    parameters: {weight: 2}\n    models:\n"
      "    - {model: a, parameters: {weight: 6}}\n    - model: b\n"
      "  shared: {models: [{model: a}, {model: b}]}\n");
  EXPECT_EQ(out.size(), t5(0).size());
  EXPECT_EQ(out.at("encoder.block.1.layer.1.layer_norm.weight"), 21 + 25);
  EXPECT_EQ(out.at("decoder.block.2.layer.0.SelfAttention.q.weight"), 32 + 25);
  EXPECT_EQ(out.at("shared.weight"), 40 + 50);
  EXPECT_EQ(out.at("lm_head.weight"), 41 + 50);
}

TEST_F(Modules, AParameterOfTheModuleStandsBeforeTheRecipesAndBehindTheSlices) {
  write(t5, kT5);
  const auto planned = plan(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  encoder:\n    parameters: {weight: 2}\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 1]}]\n"
      "    - parameters: {weight: 3}\n      sources:\n"
      "      - {model: a, layer_range: [1, 2]}\n"
      "      - {model: b, layer_range: [1, 2], parameters: {weight: 4}}\n");
  const auto weights = [&](std::string_view name) {
    std::vector<double> all;
    const auto it = std::ranges::find(planned->tensors, name, &PlannedTensor::name);
    for (const ParameterMap& own : it->parameters->per_model) all.push_back(own.at("weight"));
    return all;
  };
  EXPECT_THAT(weights("encoder.block.0.layer.1.layer_norm.weight"), ElementsAre(2));
  EXPECT_THAT(weights("encoder.block.1.layer.1.layer_norm.weight"), ElementsAre(3, 4));
}

TEST_F(Modules, AGradientRunsOverTheModulesOwnLayers) {
  write(t5, kT5);
  const auto out = merge(
      "merge_method: linear\nparameters: {normalize: false}\nmodules:\n"
      "  encoder: {models: [{model: a, parameters: {weight: [1, 2]}}]}\n"
      "  decoder: {models: [{model: a, parameters: {weight: [1, 2]}}]}\n"
      "  shared: {models: [{model: a, parameters: {weight: [1, 2]}}]}\n");
  EXPECT_EQ(out.at("encoder.block.0.layer.1.layer_norm.weight"), 20);
  EXPECT_EQ(out.at("encoder.block.1.layer.1.layer_norm.weight"), 21 * 2);
  EXPECT_EQ(out.at("decoder.block.1.layer.0.SelfAttention.q.weight"), 31 * 1.5);
  EXPECT_EQ(out.at("decoder.block.2.layer.0.SelfAttention.q.weight"), 32 * 2);
  EXPECT_EQ(out.at("decoder.final_layer_norm.weight"), 38);
  EXPECT_EQ(out.at("shared.weight"), 40);
}

// As in mergekit, where every part has `models` of its own then.
TEST_F(Modules, AGradientOfWholeModelsRunsOverEachRowOfLayers) {
  write(qwen2_vl, kQwen2Vl);
  const auto out = merge(
      "merge_method: linear\nparameters: {normalize: false}\n"
      "models: [{model: a, parameters: {weight: [1, 2]}}]\n");
  EXPECT_EQ(out.at("model.layers.1.mlp.up_proj.weight"), 11 * 1.5);
  EXPECT_EQ(out.at("visual.blocks.0.mlp.fc1.weight"), 20);
  EXPECT_EQ(out.at("visual.blocks.1.mlp.fc1.weight"), 21 * 2);
  EXPECT_EQ(out.at("visual.merger.mlp.2.weight"), 29);
}

TEST_F(Modules, WhatIsInNoneIsCopiedFromTheFirstModelWithAWarning) {
  write(llava, kLlava);
  const std::string yaml =
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  text_decoder: {models: [{model: b}, {model: a}]}\n";
  const auto out = merge(yaml);
  EXPECT_EQ(out.size(), llava(0).size());
  EXPECT_EQ(out.at("language_model.model.layers.2.mlp.up_proj.weight"), 12 + 50);
  EXPECT_EQ(out.at("vision_tower.encoder.layers.1.mlp.fc1.weight"), 121);
  EXPECT_EQ(out.at("multi_modal_projector.linear_1.weight"), 129);
  EXPECT_THAT(plan(yaml)->warnings,
              Contains(HasSubstr("7 tensors are in no module of the recipe, first "
                                 "\"multi_modal_projector.linear_1.weight\"; copied from \"b\"")));
}

TEST_F(Modules, TheBaseModelLendsWhatIsInNone) {
  write(llava, kLlava);
  const auto out = merge(
      "merge_method: linear\nbase_model: b\nparameters: {weight: 1}\nmodules:\n"
      "  text_decoder: {models: [{model: a}]}\n");
  EXPECT_EQ(out.at("language_model.lm_head.weight"), 18);
  EXPECT_EQ(out.at("vision_tower.encoder.layers.0.mlp.fc1.weight"), 120);
}

TEST_F(Modules, EveryTensorOfEveryModelIsAccountedFor) {
  write(llava, kLlava);
  const auto planned = plan(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  text_decoder: {models: [{model: a}, {model: b}]}\n"
      "  vision_tower: {models: [{model: b}]}\n");
  EXPECT_EQ(planned->accounting.size(), 2 * llava(0).size());
  std::map<std::string, int> reasons;
  for (const AccountedTensor& a : planned->accounting) ++reasons[planned->reasons[a.reason]];
  EXPECT_EQ(reasons["merged with those of the same name"], 2 * 11 + 6);
  EXPECT_EQ(reasons["its module is made of other models"], 6);
  EXPECT_EQ(reasons["in no module of the recipe: copied from the base or the first model"], 1);
  EXPECT_EQ(reasons["in no module: copied from another model"], 1);
}

TEST_F(Modules, AReplayLeavesOutWhatMergekitLeavesOut) {
  write(t5, kT5);
  const auto planned = plan(
      "merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
      "  encoder: {models: [{model: a}, {model: b}]}\n",
      {.arithmetic = "mergekit-0.1.5"});
  EXPECT_EQ(problems_of(*planned), "");
  EXPECT_EQ(planned->tensors.size(), 7u);
  EXPECT_THAT(planned->warnings, Contains(HasSubstr("mergekit-0.1.5 leaves them out")));
  EXPECT_EQ(planned->accounting.size(), 2 * t5(0).size());
}

TEST_F(Modules, CanBeReplayed) {
  write(t5, kT5);
  const std::string yaml =
      std::string("merge_method: linear\nparameters: {weight: 1}\nmodules:\n") + "  encoder: {" +
      kBoth + "}\n  decoder: {" + kBoth + "}\n  shared: {" + kBoth + "}\n";
  const auto out = merge(yaml, {.arithmetic = "mergekit-0.1.5"});
  EXPECT_EQ(out, merge(yaml));  // halves: both arithmetics are exact here
}

TEST_F(Modules, AreWhatAReplayWithoutWritingReads) {
  write(qwen2_vl, kQwen2Vl);
  const auto planned = plan(
      "merge_method: passthrough\nmodules:\n  text_decoder: {models: [{model: a}]}\n"
      "  vision_tower: {models: [{model: b}]}\n");
  const auto computed = computed_checkpoint(planned);
  ASSERT_TRUE(computed) << computed.error().sentence;
  const TensorInfo* tensor = (*computed)->find("visual.blocks.1.mlp.fc1.weight");
  ASSERT_TRUE(tensor);
  float value[4];
  ASSERT_TRUE(
      read_elements(**computed, *tensor, 0, std::as_writable_bytes(std::span<float>(value))));
  EXPECT_EQ(value[3], 121);
}

TEST_F(Modules, DefaultIsWhatNoOtherTakes) {
  write(llava, kLlava);
  const auto out = merge(
      "merge_method: passthrough\nmodules:\n  vision_tower: {models: [{model: a}]}\n"
      "  default: {models: [{model: b}]}\n");
  EXPECT_EQ(out.at("vision_tower.encoder.layers.1.mlp.fc1.weight"), 21);
  EXPECT_EQ(out.at("multi_modal_projector.linear_1.weight"), 129);
  EXPECT_EQ(out.at("language_model.lm_head.weight"), 118);
}

TEST_F(Modules, DefaultAloneIsTheWholeModel) {
  write(qwen2_vl, kQwen2Vl);
  const auto out =
      merge("merge_method: passthrough\nmodules:\n  default: {models: [{model: b}]}\n");
  EXPECT_EQ(out.size(), qwen2_vl(0).size());
}

TEST_F(Modules, AnUnknownNameIsToldTheOthers) {
  write(qwen2_vl, kQwen2Vl);
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nmodules:\n  text_decoder: {models: "
                                "[{model: a}]}\n  vision_towr: {models: [{model: a}]}\n")),
              HasSubstr("line 4: the models have no module \"vision_towr\"; did you mean "
                        "\"vision_tower\"?"));
  EXPECT_THAT(
      problems_of(*plan("merge_method: passthrough\nmodules: {ears: {models: [{model: a}]}}\n")),
      HasSubstr("line 2: the models have no module \"ears\"; there are text_decoder, "
                "multi_modal_projector and vision_tower"));
}

TEST_F(Modules, AModelOfOnePartHasNone) {
  write_model(folder_, "a", {filled("model.layers.0.mlp.up_proj.weight", 1)});
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nmodules: {text_decoder: {models: "
                                "[{model: a}]}}\n")),
              HasSubstr("they are of one part; write models: or slices: without modules:"));
}

TEST_F(Modules, AReplayRefusesNamesThatMergekitDoesNotKnow) {
  write(qwen2_vl, kQwen2Vl);
  const std::string yaml = "merge_method: passthrough\nmodules: {visual: {models: [{model: a}]}}\n";
  EXPECT_EQ(problems_of(*plan(yaml)), "");
  EXPECT_THAT(problems_of(*plan(yaml, {.arithmetic = "mergekit-0.1.5"})),
              HasSubstr("mergekit-0.1.5 knows no module \"visual\" of "
                        "Qwen2VLForConditionalGeneration"));
}

TEST_F(Modules, ATensorInTwoIsRefused) {
  write(qwen2_vl, kQwen2Vl);
  const auto planned = plan(
      "merge_method: passthrough\nmodules:\n  vision_tower: {models: [{model: a}]}\n"
      "  visual: {models: [{model: b}]}\n");
  ASSERT_EQ(planned->problems.size(), 1u);
  EXPECT_THAT(
      problems_of(*planned),
      HasSubstr("line 4: the modules \"vision_tower\" (line 3) and \"visual\" both take the "
                "tensor \"visual.blocks.0.norm1.weight\""));
}

TEST_F(Modules, AModuleThatNoneOfItsModelsHasIsRefused) {
  write(qwen2_vl, kQwen2Vl);
  Tensors text = qwen2_vl(0);
  std::erase_if(text, [](const ScratchTensor& t) { return t.name.starts_with("visual"); });
  write_model(folder_, "b", text, R"({"architectures": ["Qwen2ForCausalLM"]})");
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nbase_model: b\nmodules:\n"
                                "  text_decoder: {models: [{model: a}]}\n"
                                "  vision_tower: {models: [{model: b}]}\n")),
              HasSubstr("line 5: none of the models of the module \"vision_tower\" has a tensor"));
}

TEST_F(Modules, AStackThatReachesIntoAnotherModuleIsRefused) {
  write(qwen2_vl, kQwen2Vl);
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nmodules:\n  visual.blocks.0:\n"
                                "    slices:\n    - sources: [{model: a, layer_range: [0, 1]}]\n"
                                "    - sources: [{model: a, layer_range: [0, 1]}]\n")),
              HasSubstr("two modules write the tensor \"visual.blocks.1.norm1.weight\""));
}

TEST_F(Modules, AreStackedEachByItsOwnLayers) {
  write(t5, kT5);
  const auto out = merge(
      "merge_method: passthrough\nmodules:\n"
      "  encoder:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 2]}]\n"
      "    - sources: [{model: b, layer_range: [1, 2]}]\n"
      "  decoder: {models: [{model: a}]}\n"
      "  shared: {models: [{model: b}]}\n");
  EXPECT_EQ(out.size(), t5(0).size() + 3);
  EXPECT_EQ(out.at("encoder.block.2.layer.1.layer_norm.weight"), 121);
  EXPECT_EQ(out.at("encoder.final_layer_norm.weight"), 128);
  EXPECT_EQ(out.at("decoder.block.2.layer.0.SelfAttention.q.weight"), 32);
  EXPECT_EQ(config_["num_layers"], 3);
  EXPECT_EQ(config_["num_decoder_layers"], 3);
}

// Without a number of its own a T5 decoder is as deep as the encoder.
TEST_F(Modules, ACountThatGoesWithoutSayingIsSaidBeforeTheOtherChanges) {
  Tensors even = t5(0);
  std::erase_if(even, [](const ScratchTensor& t) { return t.name.starts_with("decoder.block.2"); });
  write_model(folder_, "a", even,
              R"({"architectures": ["T5ForConditionalGeneration"], "num_layers": 2})");
  merge(
      "merge_method: passthrough\nmodules:\n  encoder:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 1]}]\n"
      "  decoder: {models: [{model: a}]}\n  shared: {models: [{model: a}]}\n");
  EXPECT_EQ(config_["num_layers"], 1);
  EXPECT_EQ(config_["num_decoder_layers"], 2);
}

TEST_F(Modules, EveryCountOfAStackIsRewritten) {
  write(whisper, kWhisper);
  merge(
      "merge_method: passthrough\nmodules:\n  encoder:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 2]}]\n"
      "    - sources: [{model: b, layer_range: [0, 2]}]\n"
      "  decoder:\n    slices:\n    - sources: [{model: a, layer_range: [0, 1]}]\n");
  EXPECT_EQ(config_["encoder_layers"], 4);
  EXPECT_EQ(config_["num_hidden_layers"], 4);
  EXPECT_EQ(config_["decoder_layers"], 1);
}

TEST_F(Modules, ListsWithAnEntryPerLayerFollowTheirModule) {
  write(llava, kLlava);
  merge(
      "merge_method: passthrough\nmodules:\n  text_decoder:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 2]}]\n"
      "    - sources: [{model: b, layer_range: [1, 3]}]\n"
      "  vision_tower: {models: [{model: a}]}\n");
  EXPECT_EQ(config_["text_config"]["num_hidden_layers"], 4);
  EXPECT_EQ(config_["text_config"]["layer_types"], (std::vector<std::string>{"x", "y", "y", "z"}));
  EXPECT_EQ(config_["vision_config"]["num_hidden_layers"], 2);
}

TEST_F(Modules, SaysThatLayersAreNamedByNumber) {
  write(llava, kLlava);
  EXPECT_THAT(plan("merge_method: passthrough\nmodules:\n  vision_tower:\n    slices:\n"
                   "    - sources: [{model: a, layer_range: [0, 1]}]\n")
                  ->warnings,
              Contains(HasSubstr("line 3: vision_feature_layer in config.json speaks of layers")));
}

TEST_F(Modules, AStackThatNoConfigCanTellIsRefused) {
  Tensors tensors = llava(0);
  add_row(tensors, "speech.blocks", 5, {"a.weight", "b.weight", "c.weight"}, 50);
  write_model(folder_, "a", tensors, kLlava);
  const auto recipe = [](int last) {
    return "merge_method: passthrough\nmodules:\n  speech:\n    slices:\n"
           "    - sources: [{model: a, layer_range: [0, " +
           std::to_string(last) + "]}]\n";
  };
  EXPECT_THAT(problems_of(*plan(recipe(4))),
              HasSubstr("no known place for the number of layers of the module \"speech\""));
  EXPECT_EQ(problems_of(*plan(recipe(5))), "");
}

TEST_F(Modules, ALayerRangeIsCheckedAgainstTheModule) {
  write(llava, kLlava);
  EXPECT_THAT(
      problems_of(*plan("merge_method: passthrough\nmodules:\n  vision_tower:\n    slices:\n"
                        "    - sources: [{model: a, layer_range: [0, 3]}]\n")),
      HasSubstr("line 5: layer_range [0, 3) goes past the last layer of \"a\", which has 2 "
                "layers"));
}

TEST_F(Modules, AStackWithoutWhatOnlyTheFirstLayerHasIsWarnedOf) {
  write(t5, kT5);
  EXPECT_THAT(
      plan("merge_method: passthrough\nmodules:\n  decoder:\n    slices:\n"
           "    - sources: [{model: a, layer_range: [1, 3]}]\n")
          ->warnings,
      Contains(HasSubstr("relative_attention_bias.weight\", and the stack begins with layer "
                         "1; the result goes without it")));
}

TEST_F(Modules, PlainSlicesOfAnEncoderAndADecoderAreRefused) {
  write(t5, kT5);
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nslices:\n"
                                "- sources: [{model: a, layer_range: [0, 2]}]\n")),
              HasSubstr("line 3: \"a\" has several rows of layers (decoder.block and "
                        "encoder.block), and slices do not say which of them they mean; write them "
                        "below modules: (encoder, decoder and shared)"));
}

TEST_F(Modules, PlainSlicesLeaveATowerWhole) {
  write(qwen2_vl, kQwen2Vl);
  const std::string yaml =
      "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
      "- sources: [{model: b, layer_range: [0, 3]}]\n";
  const auto out = merge(yaml);
  EXPECT_EQ(out.at("model.layers.3.mlp.up_proj.weight"), 112);
  EXPECT_EQ(out.at("visual.blocks.1.mlp.fc1.weight"), 21);
  EXPECT_EQ(out.at("visual.blocks.1.norm1.weight"), 21);  // no final norm of the text model
  EXPECT_FALSE(out.contains("visual.blocks.2.mlp.fc1.weight"));
  EXPECT_EQ(config_["num_hidden_layers"], 4);
  EXPECT_EQ(config_["vision_config"]["depth"], 2);
  EXPECT_THAT(plan(yaml)->warnings, Contains(HasSubstr("visual.blocks stays whole")));
}

TEST_F(Modules, ATowersNormsAreTakenFromTheSliceThatTheyStandBy) {
  write(llava, kLlava);
  for (const auto& [name, base] : std::map<std::string, double>{{"a", 0}, {"b", 100}}) {
    Tensors tensors = llava(base);
    tensors.push_back(filled("vision_tower.pre_layrnorm.weight", base + 1));
    tensors.push_back(filled("vision_tower.post_layernorm.weight", base + 2));
    write_model(folder_, name, tensors, kLlava);
  }
  const auto out = merge(
      "merge_method: passthrough\nmodules:\n  vision_tower:\n    slices:\n"
      "    - sources: [{model: a, layer_range: [0, 1]}]\n"
      "    - sources: [{model: b, layer_range: [1, 2]}]\n"
      "  text_decoder: {models: [{model: a}]}\n");
  EXPECT_EQ(out.at("vision_tower.pre_layrnorm.weight"), 1);
  EXPECT_EQ(out.at("vision_tower.post_layernorm.weight"), 102);
}

TEST_F(Modules, TheModelCardNamesNoFolders) {
  write(t5, kT5);
  merge("merge_method: passthrough\nmodules:\n  encoder: {models: [{model: " + folder_.path("a") +
        "}]}\n  decoder: {models: [{model: " + folder_.path("b") + "}]}\n");
  const auto card = read_text(folder_.path("out1/README.md"), 1 << 20);
  ASSERT_TRUE(card);
  EXPECT_THAT(*card, HasSubstr("encoder: {models: [{model: a}]}"));
  EXPECT_THAT(*card, HasSubstr("decoder: {models: [{model: b}]}"));
}

// Measured with mergekit: of a layer that occurs twice both draw before the next layer does.
TEST_F(Modules, AStackDrawsInTheOrderOfItsInputs) {
  write(t5, kT5);
  const auto planned = plan(
      "merge_method: dare_linear\nbase_model: a\nparameters: {weight: 1, density: 0.5}\n"
      "modules:\n  encoder:\n    slices:\n"
      "    - sources: [{model: b, layer_range: [0, 2]}]\n"
      "    - sources: [{model: b, layer_range: [0, 2]}]\n",
      {.arithmetic = "mergekit-0.1.5", .seed = 7});
  const auto first_word = [&](const std::string& layer) {
    const auto it =
        std::ranges::find(planned->tensors, "encoder.block." + layer + ".layer.1.layer_norm.weight",
                          &PlannedTensor::name);
    return it->first_word;
  };
  EXPECT_LT(first_word("0"), first_word("2"));
  EXPECT_LT(first_word("2"), first_word("1"));
  EXPECT_LT(first_word("1"), first_word("3"));
  EXPECT_THAT(planned->warnings, Contains(HasSubstr("leaves to chance")));
}

// mergekit refuses them, whatever they mean.
TEST_F(Modules, AReplayRefusesPlainSlicesBesideATower) {
  write(qwen2_vl, kQwen2Vl);
  EXPECT_THAT(problems_of(*plan("merge_method: passthrough\nslices:\n"
                                "- sources: [{model: a, layer_range: [0, 1]}]\n",
                                {.arithmetic = "mergekit-0.1.5"})),
              HasSubstr("several rows of layers (model.layers and visual.blocks)"));
}

TEST_F(Modules, ModelsOfDifferentDepthAreNotMergedWhole) {
  write(llava, kLlava);
  Tensors deeper = llava(0);
  add_row(deeper, "vision_tower.encoder.layers.2", 1, {"x.weight"}, 0);
  write_model(
      folder_, "b", deeper,
      R"({"text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 4}})");
  EXPECT_THAT(
      problems_of(*plan("merge_method: linear\nparameters: {weight: 1}\nmodules:\n"
                        "  vision_tower: {models: [{model: a}, {model: b}]}\n")),
      HasSubstr("line 4: \"b\" has 4 layers, but \"a\" has 2; models of different depth are "
                "merged by slices"));
}

}  // namespace
}  // namespace hieron
