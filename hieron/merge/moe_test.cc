#include "hieron/merge/moe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;

constexpr uint64_t kHidden = 16, kInner = 12;

// Dense models of one layer, and recipes that name them "base", "one" and "two".
struct Models {
  ScratchFolder folder;
  std::string type = "llama";
  std::vector<ScratchTensor> more;  // of the base

  std::shared_ptr<const Checkpoint> model(const std::string& name, double phase) const {
    std::vector<ScratchTensor> tensors;
    const auto add = [&](const std::string& tensor, Shape shape) {
      tensors.push_back({tensor, DType::kBF16, std::move(shape),
                         wave(phase + 0.1 * static_cast<double>(tensors.size()))});
    };
    add("model.embed_tokens.weight", {8, kHidden});
    add("model.norm.weight", {kHidden});
    const std::string layer = "model.layers.0.";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      add(layer + norm + ".weight", {kHidden});
    }
    for (const char* part : {"q", "k", "v", "o"}) {
      add(layer + "self_attn." + part + "_proj.weight", {kHidden, kHidden});
    }
    add(layer + "mlp.gate_proj.weight", {kInner, kHidden});
    add(layer + "mlp.up_proj.weight", {kInner, kHidden});
    add(layer + "mlp.down_proj.weight", {kHidden, kInner});
    if (name == "base") tensors.insert(tensors.end(), more.begin(), more.end());
    const std::string config = R"({"model_type": ")" + type +
                               R"(", "num_hidden_layers": 1, "hidden_size": 16, "vocab_size": 8})";
    return *open_checkpoint(write_model(folder, name, tensors, config));
  }

  Result<std::shared_ptr<const Checkpoint>> make(const std::string& rest, uint64_t seed = 7) const {
    const auto recipe = parse_moe_recipe("base_model: base\n" + rest, "moe.yml");
    if (!recipe) return std::unexpected(recipe.error());
    const std::map<std::string, double> phases{{"base", 1}, {"one", 2}, {"two", 3}};
    return make_mixture(
        *recipe,
        [&](const ModelRef& ref) -> Result<std::shared_ptr<const Checkpoint>> {
          return model(ref.text, phases.at(ref.text));
        },
        seed);
  }
  std::string refusal(const std::string& rest) const {
    const auto made = make(rest);
    return made ? "" : made.error().sentence;
  }
};

const std::string kTwo = "experts:\n  - source_model: one\n  - source_model: two\n";
const std::string kRandom = "gate_mode: random\n" + kTwo;

std::vector<double> values(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (!tensor) {
    ADD_FAILURE() << name << " is missing";
    return {};
  }
  std::vector<std::byte> raw(tensor->bytes());
  EXPECT_TRUE(read_elements(checkpoint, *tensor, 0, raw));
  std::vector<double> out(tensor->elements);
  decode(tensor->dtype, raw.data(), std::span(out));
  return out;
}

TEST(Mixture, HasTheBaseAndTheMlpsOfItsExperts) {
  const Models models;
  const auto made = models.make(kRandom);
  ASSERT_TRUE(made) << made.error().sentence;
  const std::string block = "model.layers.0.block_sparse_moe.";
  EXPECT_EQ(values(**made, "model.layers.0.self_attn.q_proj.weight"),
            values(*models.model("base", 1), "model.layers.0.self_attn.q_proj.weight"));
  EXPECT_EQ(values(**made, block + "experts.1.w2.weight"),
            values(*models.model("two", 3), "model.layers.0.mlp.down_proj.weight"));
  EXPECT_EQ(values(**made, block + "experts.0.w3.weight"),
            values(*models.model("one", 2), "model.layers.0.mlp.up_proj.weight"));
  EXPECT_FALSE((*made)->find(block + "experts.0.w1.weight")->computed);
  EXPECT_THAT((*made)->config_json, HasSubstr("\"num_local_experts\": 2"));
  EXPECT_THAT((*made)->config_json, HasSubstr("MixtralForCausalLM"));
}

TEST(Mixture, WritesItsExpertsFusedIfAskedTo) {
  const Models models;
  const auto made = models.make(kRandom + "hieron: {experts: fused}\n");
  ASSERT_TRUE(made) << made.error().sentence;
  EXPECT_EQ((*made)->find("model.layers.0.mlp.experts.gate_up_proj")->shape,
            (Shape{2, 2 * kInner, kHidden}));
  EXPECT_TRUE((*made)->find("model.layers.0.mlp.gate.weight"));
}

TEST(Mixture, RouterDependsOnTheSeedAlone) {
  const Models models;
  const std::string gate = "model.layers.0.block_sparse_moe.gate.weight";
  const auto one = values(**models.make(kRandom, 1), gate);
  EXPECT_EQ(one, values(**models.make(kRandom, 1), gate));
  EXPECT_NE(one, values(**models.make(kRandom, 2), gate));
  EXPECT_EQ((*models.make(kRandom, 2))->metadata.at("hieron_seed"), "2");
}

TEST(Mixture, UniformRouterStaysWithinTheRootOfTheHiddenSize) {
  const Models models;
  const auto prompts = "gate_mode: uniform_random\n" + kTwo;
  const auto gate = values(**models.make(prompts), "model.layers.0.block_sparse_moe.gate.weight");
  const double bound = 1 / std::sqrt(16.0);
  const auto [low, high] = std::ranges::minmax(gate);
  EXPECT_GE(low, -bound);
  EXPECT_LE(high, bound);
  EXPECT_LT(low, -bound / 2);
  EXPECT_GT(high, bound / 2);
}

TEST(Mixture, ScalesTheDownProjectionAndAddsNoise) {
  const Models models;
  const auto made = models.make(
      "gate_mode: random\nexperts:\n  - source_model: one\n    residual_scale: 0.5\n"
      "  - source_model: two\n    noise_scale: 0.25\n");
  ASSERT_TRUE(made) << made.error().sentence;
  const std::string block = "model.layers.0.block_sparse_moe.experts.";
  const auto halved = values(**made, block + "0.w2.weight");
  const auto before = values(*models.model("one", 2), "model.layers.0.mlp.down_proj.weight");
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(halved[i], before[i] / 2);
  const auto noisy = values(**made, block + "1.w1.weight");
  const auto quiet = values(*models.model("two", 3), "model.layers.0.mlp.gate_proj.weight");
  double square = 0;
  for (size_t i = 0; i < quiet.size(); ++i) square += std::pow(noisy[i] - quiet[i], 2);
  EXPECT_NEAR(std::sqrt(square / static_cast<double>(quiet.size())), 0.25, 0.04);
}

TEST(Mixture, QwenNeedsASharedExpertAndGetsBiasesOfZero) {
  Models models;
  models.type = "qwen2";
  EXPECT_THAT(models.refusal(kRandom), HasSubstr("qwen: it needs one of shared_experts"));
  const auto made = models.make(kRandom + "shared_experts:\n  - source_model: one\n");
  ASSERT_TRUE(made) << made.error().sentence;
  EXPECT_EQ((*made)->find("model.layers.0.mlp.shared_expert_gate.weight")->shape,
            (Shape{1, kHidden}));
  EXPECT_EQ(values(**made, "model.layers.0.self_attn.k_proj.bias"),
            std::vector<double>(kHidden, 0.0));
  EXPECT_TRUE((*made)->find("model.layers.0.mlp.shared_expert.up_proj.weight"));
}

const std::string kPrompts =
    "gate_mode: cheap_embed\nexperts:\n"
    "  - source_model: one\n    positive_prompts: [ab, c]\n    negative_prompts: [b]\n"
    "  - source_model: two\n    positive_prompts: [b]\n";

// Tokens a, b, c, ab, <s>: the first rows of the embedding.
void write_tokenizer(const Models& models, const std::string& config = "{}") {
  models.folder.write("base/tokenizer.json", R"({
    "added_tokens": [{"id": 4, "content": "<s>", "special": true, "normalized": false}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": ["a b"]}})");
  models.folder.write("base/tokenizer_config.json", config);
}

using Row = std::vector<double>;

// Σ weight · row of the embedding, divided by its length.
Row direction(const Row& embedding, const std::map<size_t, double>& weights) {
  Row sum(kHidden);
  double squares = 0;
  for (size_t i = 0; i < kHidden; ++i) {
    for (const auto& [token, weight] : weights) sum[i] += weight * embedding[token * kHidden + i];
    squares += sum[i] * sum[i];
  }
  for (double& x : sum) x /= std::sqrt(squares);
  return sum;
}

TEST(Mixture, RoutesByTheEmbeddingsOfItsPrompts) {
  const Models models;
  const Row embedding = values(*models.model("base", 1), "model.embed_tokens.weight");
  write_tokenizer(models);
  const auto made = models.make(kPrompts);
  ASSERT_TRUE(made) << made.error().sentence;
  const auto gate = values(**made, "model.layers.0.block_sparse_moe.gate.weight");
  Row one = direction(embedding, {{3, 1}, {2, 1}});
  const Row two = direction(embedding, {{1, 1}});
  double squares = 0;
  for (size_t i = 0; i < kHidden; ++i) squares += std::pow(one[i] - two[i], 2);
  for (size_t i = 0; i < kHidden; ++i) {
    EXPECT_NEAR(gate[i], (one[i] - two[i]) / std::sqrt(squares), std::abs(gate[i]) / 256);
    EXPECT_NEAR(gate[kHidden + i], two[i], std::abs(two[i]) / 256);
  }
}

TEST(Mixture, PutsTheBeginningTokenBeforeEveryPrompt) {
  const Models models;
  const Row embedding = values(*models.model("base", 1), "model.embed_tokens.weight");
  write_tokenizer(models, R"({"bos_token": "<s>"})");
  const auto made = models.make(kPrompts);
  ASSERT_TRUE(made) << made.error().sentence;
  const auto gate = values(**made, "model.layers.0.block_sparse_moe.gate.weight");
  const Row two = direction(embedding, {{4, 1}, {1, 1}});
  for (size_t i = 0; i < kHidden; ++i) {
    EXPECT_NEAR(gate[kHidden + i], two[i], std::abs(two[i]) / 256);
  }
}

TEST(Mixture, RefusesPromptsWithoutATokenizer) {
  const Models models;
  EXPECT_THAT(models.refusal(kPrompts), HasSubstr("there is no tokenizer in the folder"));
}

TEST(Mixture, NeedsPromptsForAGateOfTheSharedExpert) {
  Models models;
  models.type = "qwen2";
  std::filesystem::create_directories(models.folder.path("base"));
  write_tokenizer(models);
  EXPECT_THAT(models.refusal(kPrompts + "shared_experts:\n  - source_model: one\n"),
              HasSubstr("the shared expert has no positive_prompts"));
  const auto made =
      models.make(kPrompts + "shared_experts:\n  - source_model: one\n    positive_prompts: [c]\n");
  ASSERT_TRUE(made) << made.error().sentence;
  const Row embedding = values(*models.model("base", 1), "model.embed_tokens.weight");
  const auto gate = values(**made, "model.layers.0.mlp.shared_expert_gate.weight");
  const Row shared = direction(embedding, {{2, 1}});
  for (size_t i = 0; i < kHidden; ++i) EXPECT_NEAR(gate[i], shared[i], std::abs(shared[i]) / 256);
}

TEST(Mixture, RefusesGatesThatNeedHiddenStates) {
  const Models models;
  const std::string prompts = kPrompts.substr(kPrompts.find('\n') + 1);
  for (const char* mode : {"hidden", "hidden_avg", "hidden_last"}) {
    EXPECT_THAT(models.refusal(std::string("gate_mode: ") + mode + "\n" + prompts),
                HasSubstr("needs a forward pass"));
  }
}

TEST(Mixture, RefusesABaseWithTensorsThatItHasNoPlaceFor) {
  Models models;
  models.more = {{"model.layers.0.self_attn.q_proj.bias", DType::kBF16, {kHidden}, wave(9)}};
  EXPECT_THAT(models.refusal(kRandom), HasSubstr("has no place in a MixtralForCausalLM"));
}

TEST(Mixture, RefusesModelsThatItCannotBeMadeFrom) {
  Models models;
  models.type = "gpt2";
  EXPECT_THAT(models.refusal(kRandom), HasSubstr("these are gpt2"));
}

}  // namespace
}  // namespace hieron
