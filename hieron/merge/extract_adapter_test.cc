#include "hieron/merge/extract_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "hieron/merge/adapter.h"
#include "hieron/merge/scratch_checkpoint.h"

namespace hieron {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kRows = 40, kColumns = 24;
constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

// A base, and a fine-tune of it: up_proj changed by a product of rank 3 and a little noise, the
// norm shifted, q_proj as it was.
struct Family {
  ScratchFolder folder;
  std::shared_ptr<const Checkpoint> base, model;

  explicit Family(double noise = 0) {
    const auto change = [noise](size_t i) {
      double sum = noise * std::sin(7.3 * static_cast<double>(i * i));
      for (size_t k = 0; k < 3; ++k) {
        sum += std::sin(1.0 + static_cast<double>((k + 1) * (i / kColumns))) *
               std::cos(2.0 + static_cast<double>((k + 2) * (i % kColumns))) /
               std::pow(10.0, static_cast<double>(k));
      }
      return sum;
    };
    const auto tensors = [&](bool tuned) {
      return std::vector<ScratchTensor>{
          {"model.layers.0.input_layernorm.weight", DType::kF32, {kColumns}, wave(tuned ? 2 : 1)},
          {kUp,
           DType::kF32,
           {kRows, kColumns},
           [=](size_t i) { return wave(1)(i) + (tuned ? change(i) : 0); }},
          {"model.layers.0.self_attn.q_proj.weight", DType::kF32, {8, kColumns}, wave(4)}};
    };
    base = *open_checkpoint(write_model(folder, "base", tensors(false), R"({"model_type": "x"})"));
    model = *open_checkpoint(write_model(folder, "tuned", tensors(true), R"({"model_type": "x"})"));
  }

  Result<Extraction> extract(const ExtractOptions& options, const std::string& name = "a") const {
    return extract_adapter(model, base, folder.path(name), options);
  }
};

double distance(const Checkpoint& a, const Checkpoint& b, const char* name) {
  std::vector<float> x(kRows * kColumns), y(x.size());
  EXPECT_TRUE(read_elements(a, *a.find(name), 0, std::as_writable_bytes(std::span(x))));
  EXPECT_TRUE(read_elements(b, *b.find(name), 0, std::as_writable_bytes(std::span(y))));
  double square = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    square += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
  }
  return std::sqrt(square);
}

TEST(ExtractAdapter, AppliedToTheBaseGivesTheModelBack) {
  const Family family;
  const auto made = family.extract({.wish = {.rank = 3}});
  ASSERT_TRUE(made) << made.error().sentence;
  ASSERT_EQ(made->matrices.size(), 1u);
  EXPECT_EQ(made->matrices[0].rank, 3u);
  EXPECT_LT(made->matrices[0].relative_error, 1e-6);
  EXPECT_THAT(made->saved, ElementsAre("model.layers.0.input_layernorm"));
  EXPECT_EQ(made->unchanged, 1u);
  const auto back = with_adapter(family.base, family.folder.path("a"));
  ASSERT_TRUE(back) << back.error().sentence;
  EXPECT_LT(distance(**back, *family.model, kUp), 1e-5);
}

TEST(ExtractAdapter, ReportsTheErrorOfTheAdapterItWrote) {
  const Family family(0.01);
  const auto made = family.extract({.wish = {.rank = 2, .dtype = DType::kBF16}});
  ASSERT_TRUE(made) << made.error().sentence;
  const auto back = with_adapter(family.base, family.folder.path("a"));
  ASSERT_TRUE(back) << back.error().sentence;
  const auto& matrix = made->matrices[0];
  const double measured = distance(**back, *family.model, kUp);
  EXPECT_NEAR(matrix.norm, distance(*family.base, *family.model, kUp), 1e-4 * matrix.norm);
  EXPECT_NEAR(matrix.relative_error, measured / matrix.norm, 1e-3 * matrix.relative_error);
}

TEST(ExtractAdapter, ATolerancePicksTheSmallestRankThatWillDo) {
  const Family family;
  // The three terms have norms of about 1, 1/10 and 1/100 of the whole.
  EXPECT_EQ(family.extract({.wish = {.tolerance = 0.3}}, "a")->matrices[0].rank, 1u);
  EXPECT_EQ(family.extract({.wish = {.tolerance = 0.03}}, "b")->matrices[0].rank, 2u);
  EXPECT_EQ(family.extract({.wish = {.tolerance = 0.001}}, "c")->matrices[0].rank, 3u);
  EXPECT_EQ(family.extract({.wish = {.rank = 2, .tolerance = 0.001}}, "d")->matrices[0].rank, 2u);
}

TEST(ExtractAdapter, WritesTheSameBytesForAnyNumberOfThreads) {
  const Family family(0.01);
  for (const unsigned threads : {1u, 4u}) {
    const auto name = std::to_string(threads);
    ASSERT_TRUE(family.extract({.wish = {.rank = 4}, .threads = threads}, name));
  }
  for (const char* file : {"/adapter_model.safetensors", "/adapter_config.json"}) {
    EXPECT_EQ(family.folder.read(std::string("1") + file),
              family.folder.read(std::string("4") + file));
  }
}

TEST(ExtractAdapter, RefusesAFolderInUseAndModelsThatDoNotDiffer) {
  const Family family;
  ASSERT_TRUE(family.extract({.wish = {.rank = 1}}));
  EXPECT_THAT(family.extract({.wish = {.rank = 1}}).error().sentence, HasSubstr("not empty"));
  EXPECT_TRUE(family.extract({.wish = {.rank = 1}, .overwrite = true}));
  EXPECT_THAT(
      extract_adapter(family.base, family.base, family.folder.path("n"), {.wish = {.rank = 1}})
          .error()
          .sentence,
      HasSubstr("nothing to extract"));
}

std::string refused_pair(const std::vector<std::string>& names, size_t changed) {
  const ScratchFolder folder;
  std::vector<ScratchTensor> base, tuned;
  for (size_t i = 0; i < names.size(); ++i) {
    base.push_back({names[i], DType::kF32, {8, 4}, wave(1)});
    tuned.push_back({names[i], DType::kF32, {8, 4}, wave(i == changed ? 2 : 1)});
  }
  const auto made = extract_adapter(*open_checkpoint(write_model(folder, "tuned", tuned)),
                                    *open_checkpoint(write_model(folder, "base", base)),
                                    folder.path("a"), {.wish = {.rank = 1}});
  EXPECT_EQ(std::filesystem::exists(folder.path("a/adapter_config.json")), made.has_value());
  return made ? "extracted" : made.error().sentence;
}

TEST(ExtractAdapter, RefusesAnAdapterWithoutAMatrix) {
  EXPECT_THAT(refused_pair({"down_blocks.0.resnets.0.conv_in.weight"}, 0),
              HasSubstr("none of its tensors is known as a matrix of attention"));
  EXPECT_THAT(refused_pair({"model.embed_tokens.weight", kUp}, 0),
              HasSubstr("only embeddings, norms or biases differ"));
  EXPECT_EQ(refused_pair({"model.embed_tokens.weight", kUp}, 1), "extracted");
}

TEST(ExtractAdapter, SaysWhatAnAdapterHasNoPlaceFor) {
  const ScratchFolder folder;
  const auto open = [&](const char* name, double phase) {
    return *open_checkpoint(
        write_model(folder, name,
                    {{"l.mlp.up_proj.weight", DType::kF32, {4, 3}, wave(phase)},
                     {"l.mixer.A_log", DType::kF32, {3}, wave(phase)},
                     {"l.conv.weight", DType::kF32, {phase > 1 ? 3u : 2u, 2, 2}, wave(phase)}},
                    "{}"));
  };
  const auto made =
      extract_adapter(open("tuned", 2), open("base", 1), folder.path("a"), {.wish = {.rank = 1}});
  ASSERT_TRUE(made) << made.error().sentence;
  ASSERT_EQ(made->left_out.size(), 2u);
  EXPECT_THAT(made->left_out[0].reason + made->left_out[1].reason,
              testing::AllOf(HasSubstr("[3, 2, 2] here and [2, 2, 2] in the base"),
                             HasSubstr("not the weight or bias of a module")));
}

}  // namespace
}  // namespace hieron
