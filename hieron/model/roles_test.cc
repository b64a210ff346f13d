#include "hieron/model/roles.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "hieron/model/architectures.h"

namespace hieron {
namespace {

// tests/data/hub/patterns.tsv: names of public models, folded; roles assigned by hand.
struct Pattern {
  std::string model, architecture, name, role;
  uint64_t count = 0;
  Shape shape;  // empty: not known
};

Shape parse_shape(const std::string& text) {
  Shape shape;
  if (text == "-") return shape;
  std::stringstream extents(text);
  for (std::string extent; std::getline(extents, extent, 'x');)
    shape.push_back(std::stoull(extent));
  return shape;
}

std::vector<Pattern> public_models() {
  std::ifstream in(HIERON_TEST_DATA "/hub/patterns.tsv");
  std::vector<Pattern> patterns;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with('#')) continue;
    std::stringstream fields(line);
    Pattern p;
    std::string count, shape;
    std::getline(fields, p.model, '\t');
    std::getline(fields, p.architecture, '\t');
    std::getline(fields, p.name, '\t');
    std::getline(fields, count, '\t');
    std::getline(fields, shape, '\t');
    std::getline(fields, p.role, '\t');
    p.count = std::stoull(count);
    p.shape = parse_shape(shape);
    patterns.push_back(p);
  }
  return patterns;
}

std::string with_numbers(std::string name, int layer, int expert) {
  for (const auto& [hole, number] : {std::pair{"{layer}", layer}, {"{expert}", expert}}) {
    const size_t at = name.find(hole);
    if (at != name.npos) name.replace(at, std::string_view(hole).size(), std::to_string(number));
  }
  return name;
}

TensorRole classify(std::string_view architecture, std::string_view tensor,
                    const Shape& shape = {}) {
  return RoleTable::of(architecture).classify(tensor, shape);
}

std::string_view role(std::string_view architecture, std::string_view tensor,
                      const Shape& shape = {}) {
  return name(classify(architecture, tensor, shape).role);
}

TEST(Roles, OfPublicModelsAreThoseAssignedByHand) {
  const auto patterns = public_models();
  ASSERT_GT(patterns.size(), 400u);
  for (const Pattern& p : patterns) {
    const std::string tensor = with_numbers(p.name, 7, 5);
    EXPECT_EQ(role(p.architecture, tensor, p.shape), p.role) << p.model << " " << tensor;
  }
}

TEST(Roles, OfPublicModelsAreFoundWithoutKnowingTheArchitecture) {
  for (const Pattern& p : public_models()) {
    // The router called "gate" is told from half an MLP by its shape; an index has none.
    if (p.shape.empty() && p.role == "router") continue;
    const std::string tensor = with_numbers(p.name, 7, 5);
    EXPECT_EQ(role("SomethingNew", tensor, p.shape), p.role) << p.model << " " << tensor;
  }
}

TEST(Roles, LayerAndExpertNumbersOfPublicModelsAreRight) {
  for (const Pattern& p : public_models()) {
    const std::string tensor = with_numbers(p.name, 93, 127);
    const TensorRole found = classify(p.architecture, tensor, p.shape);
    const bool layered = p.name.find("{layer}") != p.name.npos && found.tower.empty();
    const bool numbered = p.name.find("{expert}") != p.name.npos;
    EXPECT_EQ(found.layer, layered ? std::optional(93) : std::nullopt) << tensor;
    EXPECT_EQ(found.expert, numbered ? std::optional(127) : std::nullopt) << tensor;
  }
}

TEST(Roles, CoverNearlyAllParametersOfEveryPublicTextStack) {
  std::map<std::string, std::pair<double, double>> share;  // other, all
  for (const Pattern& p : public_models()) {
    if (p.shape.empty()) continue;
    const TensorRole found = classify(p.architecture, with_numbers(p.name, 7, 5), p.shape);
    if (!found.tower.empty()) continue;
    const double parameters =
        static_cast<double>(p.count) * static_cast<double>(*element_count(p.shape));
    share[p.model].second += parameters;
    if (found.role == Role::kOther) share[p.model].first += parameters;
  }
  ASSERT_GE(share.size(), 10u);
  for (const auto& [model, parts] : share) EXPECT_LT(parts.first / parts.second, 0.01) << model;
}

TEST(Roles, VisionTowersAndTokenPredictorsAreNamedAndHaveNoLayer) {
  const auto vision = classify("Qwen3_5MoeForConditionalGeneration",
                               "model.visual.blocks.3.attn.qkv.weight", {3456, 1152});
  EXPECT_EQ(vision.tower, "vision");
  EXPECT_EQ(vision.role, Role::kAttentionQ);
  EXPECT_EQ(vision.layer, std::nullopt);
  EXPECT_EQ(classify("Gemma3ForConditionalGeneration",
                     "vision_tower.vision_model.encoder.layers.3.mlp.fc1.weight")
                .tower,
            "vision");
  EXPECT_EQ(classify("Qwen3_5ForConditionalGeneration", "mtp.layers.0.mlp.up_proj.weight").tower,
            "mtp");
  EXPECT_EQ(classify("LlamaForCausalLM", "model.layers.3.mlp.up_proj.weight").tower, "");
}

// The same letters mean different halves of the gate in different families.
TEST(Roles, TheFirstQwenGatesW2AndMixtralGatesW1) {
  EXPECT_EQ(role("QWenLMHeadModel", "transformer.h.0.mlp.w1.weight"), "mlp.up");
  EXPECT_EQ(role("QWenLMHeadModel", "transformer.h.0.mlp.w2.weight"), "mlp.gate");
  EXPECT_EQ(role("QWenLMHeadModel", "transformer.h.0.mlp.c_proj.weight"), "mlp.down");
  EXPECT_EQ(role("MixtralForCausalLM", "model.layers.0.block_sparse_moe.experts.1.w1.weight"),
            "expert.gate");
  EXPECT_EQ(role("MixtralForCausalLM", "model.layers.0.block_sparse_moe.experts.1.w2.weight"),
            "expert.down");
  EXPECT_EQ(role("InternLM2ForCausalLM", "model.layers.0.feed_forward.w3.weight"), "mlp.up");
}

TEST(Roles, MoonVisionCountsItsMlpFromZero) {
  constexpr auto kKimi = "KimiK25ForConditionalGeneration";
  EXPECT_EQ(role(kKimi, "vision_tower.encoder.blocks.0.mlp.fc0.weight"), "mlp.up");
  EXPECT_EQ(role(kKimi, "vision_tower.encoder.blocks.0.mlp.fc1.weight"), "mlp.down");
  EXPECT_EQ(role("Gemma3ForConditionalGeneration",
                 "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"),
            "mlp.up");
}

struct Expected {
  std::string_view architecture, tensor, role;
};

// Families whose public configs name an architecture but whose tensor lists are not in the data.
TEST(Roles, OfOtherFamiliesFollowTheirModellingCode) {
  constexpr Expected kExpected[] = {
      {"MiniMaxM2ForCausalLM", "model.layers.1.block_sparse_moe.experts.9.w3.weight", "expert.up"},
      {"MiniMaxM2ForCausalLM", "model.layers.1.block_sparse_moe.e_score_correction_bias", "other"},
      {"KimiK25ForConditionalGeneration",
       "language_model.model.layers.1.mlp.experts.9.gate_proj.weight_packed", "expert.gate"},
      {"GlmMoeDsaForCausalLM", "model.layers.1.self_attn.indexer.wq_b.weight", "attention.q"},
      {"DeepseekV4ForCausalLM", "layers.1.ffn.experts.9.w2.weight", "expert.down"},
      {"DeepseekV4ForCausalLM", "layers.1.attn.wo_a.weight", "attention.o"},
      {"DeepseekV4ForCausalLM", "layers.1.attn.compressor.wkv.weight", "attention.k"},
      {"DeepseekV4ForCausalLM", "layers.1.hc_attn_fn", "other"},
      {"DeepseekV4ForCausalLM", "embed.weight", "embedding"},
      {"DeepseekV4ForCausalLM", "head.weight", "head"},
      {"DeepseekV4ForCausalLM", "model.layers.1.mlp.shared_experts.up_proj.weight", "expert.up"},
      {"Gemma4ForConditionalGeneration", "model.language_model.layers.1.experts.gate_up_proj",
       "expert.gate"},
      {"Gemma4ForConditionalGeneration", "model.language_model.layers.1.router.proj.weight",
       "router"},
      {"Gemma4ForConditionalGeneration", "model.language_model.layers.1.mlp.down_proj.weight",
       "mlp.down"},
      {"Llama4ForConditionalGeneration",
       "language_model.model.layers.1.feed_forward.experts.gate_up_proj", "expert.gate"},
      {"Llama4ForConditionalGeneration", "language_model.model.layers.1.feed_forward.router.weight",
       "router"},
      {"NemotronHForCausalLM", "backbone.embeddings.weight", "embedding"},
      {"NemotronHForCausalLM", "backbone.layers.1.mixer.in_proj.weight", "recurrent"},
      {"NemotronHForCausalLM", "backbone.layers.1.mixer.A_log", "recurrent"},
      {"NemotronHForCausalLM", "backbone.layers.1.mixer.q_proj.weight", "attention.q"},
      {"NemotronHForCausalLM", "backbone.layers.1.mixer.gate.weight", "router"},
      {"NemotronHForCausalLM", "backbone.layers.1.mixer.experts.9.up_proj.weight", "expert.up"},
      {"NemotronHForCausalLM", "backbone.layers.1.norm.weight", "norm"},
      {"GraniteMoeForCausalLM", "model.layers.1.block_sparse_moe.input_linear.weight",
       "expert.gate"},
      {"GraniteMoeForCausalLM", "model.layers.1.block_sparse_moe.router.layer.weight", "router"},
      {"GPT2LMHeadModel", "h.1.attn.c_attn.weight", "attention.q"},
      {"GPT2LMHeadModel", "h.1.attn.c_proj.weight", "attention.o"},
      {"GPT2LMHeadModel", "h.1.mlp.c_proj.weight", "mlp.down"},
      {"GPT2LMHeadModel", "transformer.h.1.attn.bias", "other"},
      {"GPT2LMHeadModel", "wpe.weight", "embedding"},
      {"BertForMaskedLM", "bert.encoder.layer.1.attention.output.dense.weight", "attention.o"},
      {"BertForMaskedLM", "bert.encoder.layer.1.attention.output.LayerNorm.weight", "norm"},
      {"BertForMaskedLM", "bert.encoder.layer.1.intermediate.dense.weight", "mlp.up"},
      {"BertForMaskedLM", "bert.encoder.layer.1.output.dense.weight", "mlp.down"},
      {"BertForMaskedLM", "bert.embeddings.LayerNorm.weight", "norm"},
      {"BertForMaskedLM", "bert.embeddings.word_embeddings.weight", "embedding"},
      {"ViTForImageClassification", "vit.encoder.layer.1.attention.attention.key.weight",
       "attention.k"},
      {"GPTNeoXForCausalLM", "gpt_neox.layers.1.mlp.dense_h_to_4h.weight", "mlp.up"},
      {"ChatGLMModel", "transformer.encoder.layers.1.mlp.dense_h_to_4h.weight", "mlp.gate"},
      {"T5ForConditionalGeneration", "encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
       "mlp.up"},
  };
  for (const Expected& expected : kExpected) {
    EXPECT_EQ(role(expected.architecture, expected.tensor), expected.role)
        << expected.architecture << " " << expected.tensor;
    if (expected.tensor.find(".1.") != expected.tensor.npos) {
      EXPECT_EQ(classify(expected.architecture, expected.tensor).layer, 1) << expected.tensor;
    }
  }
}

TEST(Roles, OfRecurrentModelsAreFoundByName) {
  EXPECT_EQ(role("", "rnn_1.kernel"), "recurrent");
  EXPECT_EQ(role("", "rnn_2.recurrent_kernel"), "recurrent");
  EXPECT_EQ(role("", "rnn_1.bias"), "recurrent");
  EXPECT_EQ(role("", "embedding.embeddings"), "embedding");
  EXPECT_EQ(role("", "attention.attention_W"), "attention.q");
  EXPECT_EQ(role("", "output.kernel"), "head");
  EXPECT_EQ(role("", "weight_ih_l0"), "recurrent");
  EXPECT_EQ(role("", "encoder.lstm.bias_hh_l1_reverse"), "recurrent");
  EXPECT_EQ(classify("", "rnn_2.kernel").layer, 2);
  EXPECT_EQ(classify("", "encoder.lstm.weight_hh_l1_reverse").layer, 1);
}

TEST(Roles, AGateWithFewRowsIsARouterWhereTheArchitectureIsUnknown) {
  EXPECT_EQ(role("", "decoder.layers.0.moe.gate.weight", {8, 1024}), "router");
  EXPECT_EQ(role("", "decoder.layers.0.ff.gate.weight", {4096, 1024}), "mlp.gate");
}

TEST(Roles, SegmentsMatchWholeOnly) {
  // "mlp.gate" must not take "mlp.gate_proj", nor "norm" a word that begins with it.
  EXPECT_EQ(role("Qwen3MoeForCausalLM", "model.layers.0.mlp.gate_proj.weight"), "mlp.gate");
  EXPECT_EQ(role("DeepseekV4ForCausalLM", "headers.weight"), "other");
}

TEST(Roles, OfAdaptersFollowTheirModule) {
  EXPECT_EQ(role("", "base_model.model.model.layers.4.self_attn.q_proj.lora_A.weight"),
            "attention.q");
  EXPECT_EQ(role("LlamaForCausalLM", "model.layers.4.mlp.down_proj.weight_scale"), "mlp.down");
}

TEST(Roles, HaveNamesOfTheInterfaceEachOnce) {
  std::set<std::string_view> names;
  for (int i = 0; i < kRoleCount; ++i) names.insert(name(static_cast<Role>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kRoleCount));
  EXPECT_EQ(name(Role::kAttentionQ), "attention.q");
  EXPECT_EQ(name(Role::kExpertDown), "expert.down");
  EXPECT_EQ(name(Role::kOther), "other");
}

TEST(Roles, HostileNamesAreOtherAndCostNothing) {
  EXPECT_EQ(role("", ""), "other");
  EXPECT_EQ(role("", "..."), "other");
  EXPECT_EQ(classify("", "layers.99999999999999999999.x").layer, std::nullopt);
  EXPECT_EQ(classify("", "layers.2147483647.x").layer, std::nullopt);
  EXPECT_EQ(classify("", "layers.-1.x").layer, std::nullopt);
  EXPECT_EQ(role("", std::string(1 << 20, '.')), "other");
}

RC_GTEST_PROP(Roles, AreAlwaysOneOfTheListForAnyName, (const std::string& tensor)) {
  for (const auto& known : architectures()) {
    const TensorRole found = RoleTable::of(known.architecture).classify(tensor, {4, 4});
    RC_ASSERT(static_cast<int>(found.role) < kRoleCount);
  }
}

TEST(Architectures, AreSortedAndNamedOnce) {
  const auto all = architectures();
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_LT(all[i - 1].architecture, all[i].architecture);
  }
}

// --- where the hidden units are

std::optional<UnitLayout> layout(std::string_view architecture, std::string_view tensor,
                                 const Shape& shape) {
  return unit_layout(classify(architecture, tensor, shape), tensor, shape);
}

void expect_layout(const std::optional<UnitLayout>& found, bool rows, int gates, uint64_t units) {
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rows, rows);
  EXPECT_EQ(found->gates, gates);
  EXPECT_EQ(found->units, units);
}

TEST(UnitLayout, OfGateAndUpProjectionsIsRows) {
  expect_layout(layout("", "model.layers.0.mlp.gate_proj.weight", {256, 128}), true, 1, 256);
  expect_layout(layout("", "model.layers.1.mlp.experts.3.up_proj.weight", {64, 128}), true, 1, 64);
}

TEST(UnitLayout, OfAFusedGateAndUpHasTwoBlocks) {
  expect_layout(layout("Phi3ForCausalLM", "model.layers.0.mlp.gate_up_proj.weight", {35840, 5120}),
                true, 2, 17920);
}

TEST(UnitLayout, OfPyTorchRecurrentWeightsIsRowsByGate) {
  expect_layout(layout("", "lstm.weight_ih_l0", {512, 100}), true, 4, 128);
  expect_layout(layout("", "lstm.weight_hh_l0", {512, 128}), true, 4, 128);
  expect_layout(layout("", "gru.weight_ih_l0", {384, 100}), true, 3, 128);
  expect_layout(layout("", "rnn.weight_hh_l0", {128, 128}), true, 1, 128);
}

TEST(UnitLayout, OfKerasRecurrentKernelsIsColumnsByGate) {
  expect_layout(layout("", "rnn_1.kernel", {100, 512}), false, 4, 128);
  expect_layout(layout("", "rnn_1.recurrent_kernel", {128, 512}), false, 4, 128);
  expect_layout(layout("", "gru_1.kernel", {100, 384}), false, 3, 128);
}

TEST(UnitLayout, OfInputMajorMatricesIsColumns) {
  expect_layout(layout("GPT2LMHeadModel", "h.0.mlp.c_fc.weight", {768, 3072}), false, 1, 3072);
  expect_layout(layout("GPTBigCodeForCausalLM", "transformer.h.0.mlp.c_fc.weight", {8192, 2048}),
                true, 1, 8192);
}

TEST(UnitLayout, IsUnknownForEverythingElse) {
  EXPECT_FALSE(layout("", "model.layers.0.mlp.down_proj.weight", {128, 256}));
  EXPECT_FALSE(layout("", "model.layers.0.self_attn.q_proj.weight", {128, 128}));
  EXPECT_FALSE(layout("", "model.layers.0.mlp.experts.gate_up_proj", {8, 128, 64}));
  EXPECT_FALSE(layout("", "model.layers.0.mlp.gate_proj.weight_scale_inv", {2, 1}));
  EXPECT_FALSE(layout("", "rnn_1.bias", {1024}));
  EXPECT_FALSE(layout("", "lstm.weight_hh_l0", {500, 128}));
  EXPECT_FALSE(layout("", "lstm.weight_hh_l0", {0, 0}));
}

}  // namespace
}  // namespace hieron
