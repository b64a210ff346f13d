// The audit on real weights: the table of docs/assay.md §3, and what a true merge must look like in
// every format.
#include "hieron/assay/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hieron/assay/test_family.h"

namespace hieron {
namespace {

using made::Model;

AuditOptions options() {
  AuditOptions options;
  options.seed = *Seed::from_hex("5eed");
  return options;
}

AuditResult audit_models(const Model& suspect, const Model& parent, const Model& other,
                         const std::vector<const Model*>& controls = {&legal(), &apple()},
                         AuditOptions with = options()) {
  AuditInput input;
  input.suspect = made::checkpoint("suspect", suspect);
  input.parents.push_back(made::checkpoint("parent", parent));
  input.base = made::checkpoint("base", other);
  for (const Model* control : controls)
    input.controls.push_back(made::checkpoint("control", *control));
  auto result = audit(input, with);
  EXPECT_TRUE(result) << (result ? "" : result.error().sentence);
  return result ? *std::move(result) : AuditResult{};
}

Model merge(double alpha, Arithmetic arithmetic = Arithmetic::kExact,
            const Model& p = hacker_news(), const Model& q = base()) {
  const double rest = std::round((1 - alpha) * 1e4) / 1e4;  // the decimal, as a recipe would say it
  return made::blended({&p, &q}, {{alpha, rest}, true}, arithmetic);
}

// A dense update of `size` times each tensor's standard deviation, on the stored merge.
Model with_noise(const Model& model, double size) {
  uint64_t seed = 1;
  return made::changed(model, [&](made::Tensor& tensor) {
    const double deviation = made::deviation(tensor.values);
    ++seed;
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] += size * deviation * made::normal(seed, i);
    }
  });
}

Model with_foreign_delta(const Model& model, const Model& foreign, const Model& origin,
                         double share) {
  size_t t = 0;
  return made::changed(model, [&](made::Tensor& tensor) {
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      tensor.values[i] += share * (foreign[t].values[i] - origin[t].values[i]);
    }
    ++t;
  });
}

std::string kind(const AuditResult& result) { return std::string(name(result.verdict.kind)); }

// --- the table of docs/assay.md §3 ---

TEST(AuditTable, MergeOfSixToFour) {
  const AuditResult result = audit_models(merge(0.6), hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  ASSERT_TRUE(result.depth);
  EXPECT_GE(result.depth->d4, 0.99999);
  EXPECT_GE(result.depth->d16, 0.99999);
  EXPECT_GE(result.depth->d64, 0.99998);
  EXPECT_NEAR(result.depth->alpha, 0.6, 5e-7);
  EXPECT_LE(result.depth->low, 0.6);
  EXPECT_GE(result.depth->high, 0.6);
  ASSERT_TRUE(result.recipe);
  EXPECT_EQ(result.recipe->models[0].weight, 0.6);
  EXPECT_EQ(result.recipe->models[1].weight, 0.4);
  EXPECT_EQ(result.recipe->arithmetic, "exact");
  ASSERT_TRUE(result.replay);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
  EXPECT_GT(result.depth->bits, 1e5);
}

TEST(AuditTable, MergeOfFourSevenths) {
  const AuditResult result = audit_models(
      made::blended({&hacker_news(), &base()}, {{4.0, 3.0}, true}), hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_GE(result.depth->d4, 0.99998);
  EXPECT_GE(result.depth->d16, 0.99997);
  EXPECT_GE(result.depth->d64, 0.99995);
  EXPECT_NEAR(result.depth->alpha, 4.0 / 7, 5e-7);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
}

TEST(AuditTable, MergeWithADenseUpdateOfOneTenThousandthOfTheDeviation) {
  const AuditResult result = audit_models(with_noise(merge(0.6), 1e-4), hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  EXPECT_NEAR(result.depth->d4, 0.967, 0.01);
  EXPECT_NEAR(result.depth->d16, 0.957, 0.01);
  EXPECT_NEAR(result.depth->d64, 0.929, 0.01);
  EXPECT_NEAR(result.depth->alpha, 0.6, 5e-7);
  EXPECT_GT(result.after_merge->changed, 0u);
}

TEST(AuditTable, MergeWithADenseUpdateOfOneThousandthOfTheDeviation) {
  const AuditResult result = audit_models(with_noise(merge(0.6), 1e-3), hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  EXPECT_NEAR(result.depth->d4, 0.718, 0.02);
  EXPECT_NEAR(result.depth->d16, 0.674, 0.02);
  EXPECT_NEAR(result.depth->d64, 0.576, 0.02);
  EXPECT_NEAR(result.depth->alpha, 0.6, 5e-7);
}

TEST(AuditTable, MergeWithOnePercentOfAForeignDelta) {
  const Model suspect = with_foreign_delta(merge(0.6), puppers(), base(), 0.01);
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  // The table's foreign delta was another fine-tune's; this one lies a little deeper at 4 ulps.
  EXPECT_NEAR(result.depth->d4, 0.47, 0.06);
  EXPECT_NEAR(result.depth->d16, 0.348, 0.05);
  EXPECT_NEAR(result.depth->d64, 0.213, 0.05);
  EXPECT_NEAR(result.depth->alpha, 0.605, 0.006);
}

TEST(AuditTable, FineTunesThatAreNoMergeStayNearZero) {
  for (const Model* innocent : {&puppers(), &legal(), &apple()}) {
    const AuditResult result = audit_models(*innocent, hacker_news(), base(), {});
    EXPECT_EQ(kind(result), "fine-tune") << result.verdict.sentence;
    EXPECT_LT(result.depth->d4, 0.04);
    EXPECT_LT(result.depth->d16, 0.02);
    EXPECT_LT(result.depth->d64, 0.01);
  }
}

// --- what a merge with changes says ---

TEST(Audit, NamesTheOneAlteredTensor) {
  const Model suspect = made::changed(merge(0.6), [](made::Tensor& tensor) {
    if (tensor.name != "rnn_2.recurrent_kernel") return;
    for (size_t i = 0; i < tensor.values.size(); ++i) tensor.values[i] += 0.05 * made::normal(9, i);
  });
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  for (const TensorFigures& tensor : result.tensors) {
    EXPECT_EQ(tensor.state == "equal", tensor.name != "rnn_2.recurrent_kernel") << tensor.name;
  }
  ASSERT_FALSE(result.after_merge->where.empty());
  EXPECT_EQ(result.after_merge->where[0].name, "rnn_2.recurrent_kernel");
}

TEST(Audit, NoticesASingleAlteredElement) {
  const Model suspect = made::changed(merge(0.6), [](made::Tensor& tensor) {
    if (tensor.name == "rnn_1.kernel") tensor.values[777] += 0.125;
  });
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  EXPECT_EQ(result.after_merge->changed, 1u);
  ASSERT_TRUE(result.replay->first_difference);
  EXPECT_EQ(result.replay->first_difference->tensor, "rnn_1.kernel");
  EXPECT_EQ(result.replay->first_difference->element, 777u);
}

TEST(Audit, BoundsWhatWasTrainedAfterAnExactMerge) {
  const AuditResult result = audit_models(merge(0.6), hacker_news(), base());
  EXPECT_EQ(result.after_merge->changed, 0u);
  EXPECT_LT(result.after_merge->upper_rate_95, 1e-5);
  EXPECT_GT(result.after_merge->upper_rate_95, 0);
}

// --- arithmetic ---

class AuditArithmetic : public testing::TestWithParam<Arithmetic> {};

TEST_P(AuditArithmetic, IsIdentifiedByReplay) {
  const AuditResult result = audit_models(merge(0.6, GetParam()), hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  ASSERT_TRUE(result.replay);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
  ASSERT_TRUE(result.recipe);
  EXPECT_EQ(result.recipe->models[0].weight, 0.6) << result.recipe->yaml;
  EXPECT_EQ(result.recipe->arithmetic, info(GetParam()).name);
}

INSTANTIATE_TEST_SUITE_P(EveryModel, AuditArithmetic,
                         testing::Values(Arithmetic::kExact, Arithmetic::kF32Once,
                                         Arithmetic::kF32Fma, Arithmetic::kF32Lerp,
                                         Arithmetic::kBf16Products, Arithmetic::kBf16Delta,
                                         Arithmetic::kF16Once, Arithmetic::kF16Products,
                                         Arithmetic::kF16Delta),
                         [](const auto& about) {
                           std::string text(hieron::info(about.param).name);
                           std::ranges::replace(text, '-', '_');
                           return text;
                         });

class AuditAlpha : public testing::TestWithParam<double> {};

TEST_P(AuditAlpha, IsReadToTheLastDigit) {
  const AuditResult result = audit_models(merge(GetParam()), hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  ASSERT_TRUE(result.recipe);
  ASSERT_TRUE(result.recipe->models[0].effective);
  EXPECT_NEAR(*result.recipe->models[0].effective, GetParam(), 1e-9);
  EXPECT_EQ(result.replay->equal, result.replay->elements);
}

INSTANTIATE_TEST_SUITE_P(Weights, AuditAlpha,
                         testing::Values(0.99, 0.999, 0.5, 0.565, 0.25, 0.9, 0.05, 0.333, 0.1234,
                                         1.3, -0.3, 1.7));

// --- formats ---

Model as_dtype(Model model, DType dtype) {
  return made::changed(std::move(model), [&](made::Tensor& tensor) {
    tensor.dtype = dtype;
    for (double& v : tensor.values) v = decode(dtype, encode(dtype, v));
  });
}

class AuditFormat : public testing::TestWithParam<DType> {};

TEST_P(AuditFormat, HoldsTheBlendTest) {
  const Model p = as_dtype(family("textgenrnn/hacker_news"), GetParam());
  const Model q = as_dtype(family("textgenrnn/base"), GetParam());
  const Model control = as_dtype(family("textgenrnn/reddit_legaladvice-bf16"), GetParam());
  const AuditResult merged = audit_models(merge(0.6, Arithmetic::kExact, p, q), p, q, {&control});
  EXPECT_EQ(kind(merged), "exact-merge") << merged.verdict.sentence;
  EXPECT_EQ(merged.replay->equal, merged.replay->elements);
  EXPECT_EQ(merged.recipe->models[0].weight, 0.6);
  const AuditResult innocent = audit_models(
      as_dtype(family("textgenrnn/reddit_rarepuppers-bf16"), GetParam()), p, q, {&control});
  EXPECT_EQ(kind(innocent), "fine-tune") << innocent.verdict.sentence;
}

INSTANTIATE_TEST_SUITE_P(Blendable, AuditFormat,
                         testing::Values(DType::kF64, DType::kF32, DType::kF16, DType::kBF16,
                                         DType::kF8E4M3, DType::kF8E5M2),
                         [](const auto& about) {
                           return std::string(hieron::info(about.param).name);
                         });

TEST(Audit, TestsAWidenedFileInItsTrueCells) {
  const Model suspect =
      made::changed(merge(0.6), [](made::Tensor& tensor) { tensor.dtype = DType::kF32; });
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_EQ(result.replay->equal, result.replay->elements);
}

// --- copies ---

TEST(Audit, CallsACopyACopy) {
  const AuditResult result = audit_models(hacker_news(), hacker_news(), base());
  EXPECT_EQ(kind(result), "copy");
  EXPECT_EQ(result.verdict.of, std::vector<std::string>{"parent"});
}

TEST(Audit, CallsARoundedFileAReformattedCopy) {
  const AuditResult result =
      audit_models(hacker_news(), family("textgenrnn/hacker_news"), family("textgenrnn/base"));
  EXPECT_EQ(kind(result), "reformatted-copy") << result.verdict.sentence;
}

TEST(Audit, CallsTheUnroundedOriginalOfAParentAReformattedCopy) {
  const AuditResult result = audit_models(family("textgenrnn/hacker_news"), hacker_news(), base());
  EXPECT_EQ(kind(result), "reformatted-copy") << result.verdict.sentence;
}

TEST(Audit, DoesNotCallAModelWithForeignEmbeddingsACopy) {
  Model suspect = hacker_news();
  suspect[1].values = puppers()[1].values;
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_NE(kind(result), "copy") << result.verdict.sentence;
  EXPECT_NE(kind(result), "exact-merge");
}

TEST(Audit, RecognisesLayersExchangedBetweenModels) {
  const Model &code = family("moe/code"), &news = family("moe/news");
  Model suspect = code;
  for (size_t t = 0; t < suspect.size(); ++t) {
    const size_t at = suspect[t].name.find("layers.");
    if (at != std::string::npos && (suspect[t].name[at + 7] - '0') % 2 == 1)
      suspect[t].values = news[t].values;
  }
  const AuditResult result = audit_models(suspect, code, news, {&family("moe/manual")});
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_EQ(result.recipe->method, "passthrough");
  EXPECT_EQ(result.verdict.of.size(), 2u);
}

TEST(Audit, DoesNotAccuseTheAncestorOfTwoPartlyFrozenFineTunes) {
  // Each child trained one half of the tensors; together they hold every tensor of their ancestor.
  Model first = hacker_news(), second = hacker_news();
  for (size_t t = 0; t < first.size(); ++t)
    (t % 2 ? first : second)[t].values = puppers()[t].values;
  const AuditResult result = audit_models(hacker_news(), first, second);
  EXPECT_EQ(kind(result), "undetermined") << result.verdict.sentence;
}

TEST(Audit, FindsWeightsThatVaryByTensor) {
  Model suspect = hacker_news();
  for (size_t t = 0; t < suspect.size(); ++t) {
    const double alpha = 0.2 + 0.1 * static_cast<double>(t % 6);
    suspect[t] = made::blended({&hacker_news(), &base()}, {{alpha, 1 - alpha}, true})[t];
  }
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_EQ(result.replay->equal, result.replay->elements);
  EXPECT_NE(result.recipe->varies, "global");
}

// --- direction, and what no parent explains ---

TEST(Audit, DoesNotAccuseAnHonestParentThroughItsOwnChild) {
  const Model child = merge(0.6);
  const AuditResult result = audit_models(hacker_news(), child, base());
  EXPECT_EQ(kind(result), "undetermined") << result.verdict.sentence;
  ASSERT_TRUE(result.direction);
  EXPECT_FALSE(result.direction->passed);
}

TEST(Audit, DoesNotAccuseTheBaseThroughAMergeAndItsParent) {
  const AuditResult result = audit_models(base(), merge(0.6), hacker_news());
  EXPECT_NE(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_NE(kind(result), "merge-with-changes") << result.verdict.sentence;
}

TEST(Audit, SaysWhatNoOfferedParentExplains) {
  const AuditResult innocent = audit_models(puppers(), hacker_news(), base());
  ASSERT_TRUE(innocent.unexplained);
  EXPECT_GT(innocent.unexplained->share, 0.5);
  const AuditResult merged = audit_models(merge(0.6), hacker_news(), base());
  ASSERT_TRUE(merged.unexplained);
  EXPECT_LT(merged.unexplained->share, 1e-6);
}

// --- sampling and determinism ---

TEST(Audit, OnASampleGivesTheSameVerdictAndSaysWhatItDidNotRead) {
  AuditOptions with = options();
  with.sample_bytes = 16 << 10;
  const AuditResult result = audit_models(merge(0.6), hacker_news(), base(), {&legal()}, with);
  EXPECT_EQ(kind(result), "exact-merge") << result.verdict.sentence;
  EXPECT_EQ(result.sampling.mode, "sample");
  EXPECT_LT(result.replay->elements, 200'000u);
  EXPECT_NE(result.sampling.bound.find("95 %"), std::string::npos);
}

TEST(Audit, DoesNotDependOnThreadsOrMemory) {
  const Model suspect = with_noise(merge(0.6), 1e-3);
  AuditOptions one = options(), many = options();
  one.walk.threads = 1;
  many.walk.threads = 7;
  many.walk.memory = 4 << 20;
  const AuditResult a = audit_models(suspect, hacker_news(), base(), {&legal()}, one);
  const AuditResult b = audit_models(suspect, hacker_news(), base(), {&legal()}, many);
  EXPECT_EQ(a.verdict.sentence, b.verdict.sentence);
  EXPECT_EQ(a.replay->equal, b.replay->equal);
  EXPECT_EQ(a.depth->alpha, b.depth->alpha);
  EXPECT_EQ(a.depth->bits, b.depth->bits);
  EXPECT_EQ(a.unexplained->share, b.unexplained->share);
}

TEST(Audit, GoesOnPastATensorOfNaN) {
  Model suspect = merge(0.6);
  for (double& v : suspect[7].values) v = std::nan("");
  const AuditResult result = audit_models(suspect, hacker_news(), base());
  EXPECT_EQ(kind(result), "merge-with-changes") << result.verdict.sentence;
  EXPECT_TRUE(std::ranges::any_of(result.warnings, [](const std::string& warning) {
    return warning.find("NaN") != std::string::npos;
  }));
}

TEST(Audit, RefusesModelsWithNothingInCommon) {
  AuditInput input;
  input.suspect = made::checkpoint("suspect", merge(0.6));
  input.parents.push_back(made::checkpoint(
      "stranger",
      made::changed(hacker_news(), [](made::Tensor& tensor) { tensor.name += ".other"; })));
  const auto result = audit(input, options());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kRefused);
  EXPECT_NE(result.error().sentence.find("nothing"), 0u);
}

}  // namespace
}  // namespace hieron
