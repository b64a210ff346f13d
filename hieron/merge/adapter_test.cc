#include "hieron/merge/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::HasSubstr;
using enum AdapterArithmetic;

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  Bytes out(tensor.bytes());
  const auto read = read_elements(checkpoint, tensor, 0, out);
  EXPECT_TRUE(read) << read.error().sentence;
  return out;
}

struct Comparison {
  size_t tensors = 0, equal = 0;
  double largest = 0;  // difference of two elements
};

// base + adapter of a case of tests/data/peft, beside what peft merged.
Comparison compare_with_peft(const std::string& name, AdapterArithmetic arithmetic) {
  const std::string folder = std::string(HIERON_TEST_DATA) + "/peft/" + name;
  const auto made =
      with_adapter(*open_checkpoint(folder + "/base"), folder + "/adapter", arithmetic);
  EXPECT_TRUE(made) << made.error().sentence;
  const auto merged = *open_checkpoint(folder + "/merged");
  EXPECT_EQ((*made)->tensors.size(), merged->tensors.size());
  Comparison out;
  for (const TensorInfo& theirs : merged->tensors) {
    const TensorInfo* ours = (*made)->find(theirs.name);
    if (!ours || ours->dtype != theirs.dtype || ours->shape != theirs.shape) {
      ADD_FAILURE() << theirs.name << " is missing or unlike";
      continue;
    }
    const Bytes a = bytes_of(**made, *ours), b = bytes_of(*merged, theirs);
    ++out.tensors;
    out.equal += a == b;
    for (size_t i = 0; i < theirs.elements; ++i) {
      const double x = decode(ours->dtype, load_bits(ours->dtype, a.data(), i));
      const double y = decode(ours->dtype, load_bits(ours->dtype, b.data(), i));
      out.largest = std::max(out.largest, std::fabs(x - y));
    }
  }
  return out;
}

class PeftCase : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Adapter, PeftCase,
                         testing::Values("conv1d", "patterns", "embedding", "lora-bias"));

TEST_P(PeftCase, GivesTheBytesThatPeftWrote) {
  const Comparison found = compare_with_peft(GetParam(), kPeft);
  EXPECT_EQ(found.equal, found.tensors);
}

TEST(Adapter, ExactAgreesWithPeftToItsRounding) {
  EXPECT_LT(compare_with_peft("conv1d", kExact).largest, 2e-8);
  EXPECT_EQ(compare_with_peft("patterns", kExact).largest, 0);
  EXPECT_EQ(compare_with_peft("lora-bias", kExact).largest, 0);
}

TEST(Adapter, DoraAgreesWithPeftToTheOrderOfItsNorms) {
  for (const char* name : {"dora", "dora-conv1d"}) {
    EXPECT_LT(compare_with_peft(name, kPeft).largest, 3e-8) << name;
    EXPECT_LT(compare_with_peft(name, kExact).largest, 3e-8) << name;
  }
}

TEST(Adapter, LeavesTensorsThatItDoesNotNameWhereTheyAre) {
  const std::string folder = std::string(HIERON_TEST_DATA) + "/peft/patterns";
  const auto made = *with_adapter(*open_checkpoint(folder + "/base"), folder + "/adapter");
  EXPECT_FALSE(made->find("model.layers.0.self_attn.k_proj.weight")->computed);
  EXPECT_TRUE(made->find("model.layers.0.self_attn.q_proj.weight")->computed);
}

// W [rows, columns] of a scratch checkpoint plus a product of rank 3.
struct Sum {
  ScratchFolder folder;
  std::shared_ptr<const Checkpoint> base;
  std::shared_ptr<LowRankFactors> factors = std::make_shared<LowRankFactors>();

  Sum(uint64_t rows, uint64_t columns) {
    base =
        *open_checkpoint(write_model(folder, "m", {{"w", DType::kBF16, {rows, columns}, wave(1)}}));
    factors->rows = rows, factors->rank = 3, factors->columns = columns;
    const auto fill = [](std::vector<float>& out, uint64_t n, double phase) {
      for (uint64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(wave(phase)(i)));
    };
    fill(factors->left, rows * 3, 2);
    fill(factors->right, 3 * columns, 3);
  }
  std::shared_ptr<const ComputedTensor> tensor(AdapterArithmetic arithmetic) const {
    return with_low_rank(
        base, *base->find("w"),
        [f = factors]() -> Result<std::shared_ptr<const LowRankFactors>> { return f; },
        {.scaling = 0.7, .arithmetic = arithmetic});
  }
};

TEST(LowRankSum, IsRoundedOnceFromTheSumInF64) {
  const Sum sum(5, 300);
  const auto& f = *sum.factors;
  const Bytes base = bytes_of(*sum.base, *sum.base->find("w"));
  Bytes made(base.size());
  ASSERT_TRUE(sum.tensor(kExact)->read(0, made));
  for (size_t i = 0; i < f.rows * f.columns; ++i) {
    double product = 0;
    for (size_t k = 0; k < 3; ++k) {
      product += static_cast<double>(f.left[i / f.columns * 3 + k]) *
                 static_cast<double>(f.right[k * f.columns + i % f.columns]);
    }
    const double value = decode(DType::kBF16, load_bits(DType::kBF16, base.data(), i));
    ASSERT_EQ(load_bits(DType::kBF16, made.data(), i), encode(DType::kBF16, value + 0.7 * product));
  }
}

TEST(LowRankSum, ElementsDoNotDependOnTheRangeThatIsRead) {
  for (const int magnitudes : {0, 1, 2}) {  // none, one a row, one a column
    Sum sum(9, 261);
    auto& f = *sum.factors;
    f.magnitude_by_row = magnitudes == 1;
    if (magnitudes) f.magnitudes.assign(magnitudes == 1 ? f.rows : f.columns, 1.25);
    for (const AdapterArithmetic arithmetic : {kExact, kPeft}) {
      Bytes whole(2 * f.rows * f.columns);
      ASSERT_TRUE(sum.tensor(arithmetic)->read(0, whole));
      const auto tensor = sum.tensor(arithmetic);
      for (uint64_t first = 0; first < f.rows * f.columns; first += 97) {
        for (const uint64_t count : {uint64_t{1}, uint64_t{8}, uint64_t{260}, uint64_t{1500}}) {
          Bytes some(2 * std::min(count, f.rows * f.columns - first));
          ASSERT_TRUE(tensor->read(first, some));
          ASSERT_TRUE(std::equal(some.begin(), some.end(),
                                 whole.begin() + static_cast<std::ptrdiff_t>(2 * first)));
        }
      }
    }
  }
}

// A base of one layer with one expert, and an adapter for `module` with a config of these keys.
struct Small {
  ScratchFolder folder;
  std::string base_config = R"({"model_type": "llama", "vocab_size": 6})";
  std::string config = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4})";
  std::vector<ScratchTensor> tensors{
      {"model.embed_tokens.weight", DType::kBF16, {6, 4}, wave(1)},
      {"model.layers.0.q_proj.weight", DType::kBF16, {3, 4}, wave(2)},
      {"model.layers.0.mlp.experts.gate_up_proj", DType::kBF16, {2, 6, 4}, wave(3)},
      {"model.layers.0.mlp.experts.down_proj", DType::kBF16, {2, 4, 3}, wave(4)}};
  std::vector<ScratchTensor> adapter;

  void lora(const std::string& module, uint64_t out = 3, uint64_t in = 4, uint64_t rank = 2) {
    adapter.push_back(
        {"base_model.model." + module + ".lora_A.weight", DType::kF32, {rank, in}, wave(5)});
    adapter.push_back(
        {"base_model.model." + module + ".lora_B.weight", DType::kF32, {out, rank}, wave(6)});
  }
  Result<std::shared_ptr<const Checkpoint>> apply() const {
    const std::string made = write_model(folder, "adapter", adapter);
    std::filesystem::rename(made + "/model.safetensors", made + "/adapter_model.safetensors");
    folder.write("adapter/adapter_config.json", config);
    return with_adapter(*open_checkpoint(write_model(folder, "base", tensors, base_config)), made);
  }
  std::string refusal() const {
    const auto made = apply();
    return made ? "" : made.error().sentence;
  }
};

TEST(Adapter, ReachesExpertsThatTheBaseHasFused) {
  Small small;
  small.lora("model.layers.0.mlp.experts.1.up_proj");
  const auto made = small.apply();
  ASSERT_TRUE(made) << made.error().sentence;
  const auto base = *open_checkpoint(small.folder.path("base"));
  const TensorInfo* fused = (*made)->find("model.layers.0.mlp.experts.gate_up_proj");
  ASSERT_TRUE(fused);
  const Bytes now = bytes_of(**made, *fused);
  const Bytes before = bytes_of(*base, *base->find(fused->name));
  const size_t changed = 2 * (6 * 4 + 3 * 4);  // of expert 1 the rows behind its gate's
  EXPECT_TRUE(std::equal(now.begin(), now.begin() + changed, before.begin()));
  EXPECT_FALSE(std::equal(now.begin() + changed, now.end(), before.begin() + changed));
}

TEST(Adapter, RefusesAModuleThatTheBaseDoesNotHaveWithTheNearestName) {
  Small small;
  small.lora("model.layers.0.k_proj");
  EXPECT_THAT(small.refusal(), HasSubstr("did you mean \"model.layers.0.q_proj.weight\"?"));
}

TEST(Adapter, RefusesFactorsThatDoNotFit) {
  Small small;
  small.lora("model.layers.0.q_proj", 5, 4);
  EXPECT_THAT(small.refusal(), HasSubstr("do not fit its weight [3, 4]"));
}

TEST(Adapter, RefusesARankThatTheConfigDoesNotSay) {
  Small small;
  small.lora("model.layers.0.q_proj", 3, 4, 1);
  EXPECT_THAT(small.refusal(), HasSubstr("has rank 1, but the config says 2"));
}

TEST(Adapter, RefusesHalfAPair) {
  Small small;
  small.lora("model.layers.0.q_proj");
  small.adapter.pop_back();
  EXPECT_THAT(small.refusal(), HasSubstr("has no lora_B"));
}

TEST(Adapter, RefusesKindsThatAreNoSum) {
  Small small;
  small.lora("model.layers.0.q_proj");
  for (const auto& [config, reason] :
       {std::pair{R"({"peft_type": "IA3"})", "only LORA"},
        std::pair{R"({"peft_type": "LORA", "r": 2, "init_lora_weights": "pissa_niter_4"})",
                  "part of the base was taken away"},
        std::pair{R"({"peft_type": "LORA", "r": 2, "layer_replication": [[0, 1]]})",
                  "repeats layers"},
        std::pair{R"({"peft_type": "LORA", "r": 0})", "not above zero"}, std::pair{"[]", "damaged"},
        std::pair{R"({"peft_type": "LORA", "r": 2, "use_dora": true})", "no magnitude vector"}}) {
    small.config = config;
    EXPECT_THAT(small.refusal(), HasSubstr(reason));
  }
}

TEST(Adapter, RefusesATensorThatNoRuleReads) {
  Small small;
  small.adapter.push_back(
      {"base_model.model.model.layers.0.q_proj.lora_E", DType::kF32, {2}, wave(1)});
  EXPECT_THAT(small.refusal(), HasSubstr("is nothing that a LoRA adapter has"));
}

TEST(Adapter, RefusesToChangeAnOutputLayerThatIsTheEmbedding) {
  Small small;
  small.base_config = R"({"model_type": "llama", "tie_word_embeddings": true})";
  small.lora("lm_head", 6, 4);
  EXPECT_THAT(small.refusal(), HasSubstr("shares with its embedding"));
}

TEST(Adapter, UntiesAModelWhoseOutputLayerWasTrainedWhole) {
  Small small;
  small.base_config = R"({"model_type": "llama", "tie_word_embeddings": true})";
  small.adapter.push_back({"base_model.model.lm_head.weight", DType::kF32, {6, 4}, wave(9)});
  const auto made = small.apply();
  ASSERT_TRUE(made) << made.error().sentence;
  EXPECT_EQ((*made)->find("lm_head.weight")->dtype, DType::kBF16);
  EXPECT_THAT((*made)->config_json, HasSubstr("\"tie_word_embeddings\": false"));
  EXPECT_EQ((*made)->warnings.size(), 1u);
}

TEST(Adapter, AVocabularyThatGrewChangesTheConfig) {
  Small small;
  small.adapter.push_back(
      {"base_model.model.model.embed_tokens.weight", DType::kBF16, {8, 4}, wave(9)});
  const auto made = small.apply();
  ASSERT_TRUE(made) << made.error().sentence;
  EXPECT_EQ((*made)->find("model.embed_tokens.weight")->shape, (Shape{8, 4}));
  EXPECT_THAT((*made)->config_json, HasSubstr("\"vocab_size\": 8"));
}

}  // namespace
}  // namespace hieron
