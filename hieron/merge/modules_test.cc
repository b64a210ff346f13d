#include "hieron/merge/modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Checkpoint of(std::vector<std::string> names) {
  Checkpoint checkpoint;
  for (std::string& name : names) {
    checkpoint.tensors.push_back({.name = std::move(name),
                                  .dtype = DType::kF32,
                                  .shape = {2},
                                  .elements = 2,
                                  .stored = {},
                                  .computed = nullptr});
  }
  return checkpoint;
}

const Checkpoint& qwen2_vl() {
  static const Checkpoint model =
      of({"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight",
          "visual.patch_embed.proj.weight", "visual.blocks.0.mlp.fc1.weight",
          "visual.merger.ln_q.weight", "visual.merger.mlp.0.weight"});
  return model;
}

const Checkpoint& llava() {
  static const Checkpoint model =
      of({"language_model.lm_head.weight", "language_model.model.embed_tokens.weight",
          "language_model.model.layers.0.mlp.up_proj.weight",
          "multi_modal_projector.linear_1.weight", "vision_tower.encoder.layers.0.mlp.fc1.weight"});
  return model;
}

// The tensors of a module by this name; "-" if there is none.
std::vector<std::string> taken(const std::string& architecture, const Checkpoint& model,
                               std::string_view name) {
  const auto part = ModelParts(architecture, {&model}).find(name);
  if (!part) return {"-"};
  std::vector<std::string> names;
  for (const TensorInfo& tensor : model.tensors) {
    if (part->takes(tensor.name)) names.push_back(tensor.name);
  }
  return names;
}

TEST(ModelParts, KnowsTheNamesOfAnArchitecture) {
  constexpr const char* kQwen = "Qwen2VLForConditionalGeneration";
  EXPECT_THAT(taken(kQwen, qwen2_vl(), "text_decoder"),
              ElementsAre("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
                          "lm_head.weight"));
  EXPECT_THAT(taken(kQwen, qwen2_vl(), "vision_tower"),
              ElementsAre("visual.patch_embed.proj.weight", "visual.blocks.0.mlp.fc1.weight"));
  EXPECT_THAT(taken(kQwen, qwen2_vl(), "multi_modal_projector"),
              ElementsAre("visual.merger.ln_q.weight", "visual.merger.mlp.0.weight"));
}

// Files have been written with both: transformers changed its mind in 2025.
TEST(ModelParts, KnowsBothOrdersOfNames) {
  const Checkpoint later =
      of({"lm_head.weight", "model.language_model.norm.weight",
          "model.visual.blocks.0.norm1.weight", "model.visual.merger.mlp.0.weight"});
  constexpr const char* kQwen = "Qwen2_5_VLForConditionalGeneration";
  EXPECT_THAT(taken(kQwen, later, "text_decoder"),
              ElementsAre("lm_head.weight", "model.language_model.norm.weight"));
  EXPECT_THAT(taken(kQwen, later, "vision_tower"),
              ElementsAre("model.visual.blocks.0.norm1.weight"));
}

TEST(ModelParts, CallsThePartsOfOtherArchitecturesAlike) {
  EXPECT_THAT(
      taken("LlavaForConditionalGeneration", llava(), "text_decoder"),
      ElementsAre("language_model.lm_head.weight", "language_model.model.embed_tokens.weight",
                  "language_model.model.layers.0.mlp.up_proj.weight"));
  EXPECT_THAT(ModelParts("", {&llava()}).names(),
              ElementsAre("text_decoder", "multi_modal_projector", "vision_tower"));
}

TEST(ModelParts, AnyOtherNameBeginsTensorNamesAtWholeSegments) {
  EXPECT_THAT(taken("", qwen2_vl(), "visual"),
              ElementsAre("visual.patch_embed.proj.weight", "visual.blocks.0.mlp.fc1.weight",
                          "visual.merger.ln_q.weight", "visual.merger.mlp.0.weight"));
  EXPECT_THAT(taken("", qwen2_vl(), "visual.merger.mlp"),
              ElementsAre("visual.merger.mlp.0.weight"));
  EXPECT_THAT(taken("", qwen2_vl(), "visu"), ElementsAre("-"));
  EXPECT_THAT(taken("", qwen2_vl(), "visual.merger.mlp.0.weight"), ElementsAre("-"));
}

TEST(ModelParts, TakesUnderscoresForDotsAndLooksBelowModel) {
  EXPECT_THAT(taken("", qwen2_vl(), "visual_merger_mlp"),
              ElementsAre("visual.merger.mlp.0.weight"));
  EXPECT_THAT(taken("", qwen2_vl(), "layers"), ElementsAre("model.layers.0.mlp.up_proj.weight"));
}

// mergekit infers names from the loaded model: model.language_model.layers, also of older files.
TEST(ModelParts, FindsNamesOfTheLoadedModelInOlderFiles) {
  EXPECT_THAT(taken("", llava(), "model.language_model.layers"),
              ElementsAre("language_model.model.layers.0.mlp.up_proj.weight"));
  EXPECT_THAT(taken("", llava(), "model.vision_tower.encoder.layers"),
              ElementsAre("vision_tower.encoder.layers.0.mlp.fc1.weight"));
}

TEST(ModelParts, AHeadAloneMakesNoTextDecoder) {
  const Checkpoint llama = of({"model.layers.0.mlp.up_proj.weight", "lm_head.weight"});
  EXPECT_THAT(taken("LlamaForCausalLM", llama, "text_decoder"), ElementsAre("-"));
  EXPECT_THAT(ModelParts("LlamaForCausalLM", {&llama}).names(), IsEmpty());
}

TEST(ModelParts, NamesPartsByWhereLayersStandIfNothingElseIsKnown) {
  const Checkpoint odd = of({"eyes.blocks.0.weight", "eyes.blocks.1.weight", "mind.h.0.w.weight"});
  EXPECT_THAT(ModelParts("", {&odd}).names(), ElementsAre("eyes.blocks", "mind.h", "default"));
}

TEST(ModelParts, MergekitKnowsNoOtherNamesOfItsArchitectures) {
  const ModelParts qwen("Qwen2VLForConditionalGeneration", {&qwen2_vl()});
  EXPECT_TRUE(qwen.unknown_to_mergekit("visual"));
  EXPECT_FALSE(qwen.unknown_to_mergekit("vision_tower"));
  EXPECT_FALSE(ModelParts("", {&llava()}).unknown_to_mergekit("visual"));
}

TEST(ModelParts, SaysWhereLayersAreCounted) {
  const ModelParts parts("", {&llava()});
  const ModuleRule* tower = parts.rule_of("vision_tower.encoder.layers.0.mlp.fc1.weight");
  ASSERT_TRUE(tower);
  EXPECT_EQ(tower->counts.front(), "vision_config.num_hidden_layers");
  EXPECT_EQ(parts.rule_of("model.image_newline"), nullptr);
}

}  // namespace
}  // namespace hieron
