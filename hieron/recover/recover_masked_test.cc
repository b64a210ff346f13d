// Masked merges of real families, made with parameters at random, and found again without being
// told the method.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/merge/traces/mask_reading.h"
#include "hieron/recover/recover.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using testing_recovery::Case;
using testing_recovery::Family;
using testing_recovery::made;

constexpr std::array<std::string_view, 7> kMasked{
    "ties", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties", "della_linear", "della"};

// A family with the parents that may be drawn, all of them candidates.
struct Material {
  Family family;
  std::string base;
  std::vector<std::string> parents;
  std::string dtype;
};

const Material& moe() {
  static const Material material{
      Family("moe"), "base", {"code", "news", "manual", "scripture"}, "bfloat16"};
  return material;
}
const Material& lstm() {
  static const Material material{
      Family("textgenrnn"), "base", {"hacker_news", "reddit_legaladvice"}, "float32"};
  return material;
}
const Material& lstm_bf16() {
  static const Material material{Family("textgenrnn"),
                                 "base-bf16",
                                 {"hacker_news-bf16", "reddit_apple_android-bf16",
                                  "reddit_legaladvice-bf16", "reddit_rarepuppers-bf16"},
                                 "bfloat16"};
  return material;
}

struct Parent {
  size_t model;  // of the case: candidates are numbered from 1
  double weight, density, gamma = 0, epsilon = 0;
};

// A recipe of which everything is known.
struct Truth {
  std::string method;
  std::vector<Parent> parents;
  double lambda = 1;
  uint64_t seed = 0;
  std::string arithmetic = "exact";
  bool base_listed_first = false;

  bool random() const { return method.starts_with("dare") || method.starts_with("della"); }
  bool ranked() const { return method.starts_with("della"); }
  bool outliers() const { return method.starts_with("breadcrumbs"); }
  bool averages() const { return method == "ties" || method == "della"; }

  std::string yaml(const Material& material) const {
    std::string text = fmt::format("merge_method: {}\nbase_model: {}/{}\nmodels:\n", method,
                                   material.family.folder, material.base);
    if (base_listed_first) {
      text += fmt::format("  - model: {}/{}\n", material.family.folder, material.base);
    }
    for (const Parent& parent : parents) {
      text += fmt::format("  - model: {}/{}\n    parameters: {{weight: {}, density: {}",
                          material.family.folder, material.parents[parent.model - 1], parent.weight,
                          parent.density);
      if (outliers()) text += fmt::format(", gamma: {}", parent.gamma);
      if (ranked()) text += fmt::format(", epsilon: {}", parent.epsilon);
      text += "}\n";
    }
    if (lambda != 1) text += fmt::format("parameters: {{lambda: {}}}\n", lambda);
    return text + fmt::format("dtype: {}\nhieron: {{arithmetic: {}, seed: {}}}\n", material.dtype,
                              arithmetic, seed);
  }
};

class Drawn {
 public:
  explicit Drawn(unsigned seed) : random_(seed) {}

  Truth truth(std::string_view method, size_t parents, std::string_view arithmetic,
              size_t candidates) {
    Truth truth{
        .method = std::string(method), .parents = {}, .arithmetic = std::string(arithmetic)};
    std::vector<size_t> models(candidates);
    for (size_t k = 0; k < candidates; ++k) models[k] = k + 1;
    for (size_t k = 0; k < parents; ++k) {
      std::swap(models[k], models[k + random_() % (candidates - k)]);
      Parent parent{
          .model = models[k], .weight = hundredths(20, 120, 5), .density = hundredths(10, 90, 1)};
      if (truth.outliers()) parent.gamma = hundredths(1, 5, 1);
      if (truth.ranked()) {
        parent.epsilon = hundredths(5, 20, 1);
        parent.density = hundredths(25, 75, 1);
      }
      truth.parents.push_back(parent);
    }
    if (random_() % 3 == 0) truth.lambda = hundredths(50, 150, 10);
    truth.seed = random_() % 60000;
    truth.base_listed_first = random_() % 4 == 0;
    return truth;
  }

 private:
  double hundredths(unsigned low, unsigned high, unsigned step) {
    return static_cast<double>(low + step * (random_() % ((high - low) / step + 1))) / 100;
  }
  std::mt19937 random_;
};

const HypothesisInput* input_of(const Hypothesis& hypothesis, size_t model) {
  const auto found = std::ranges::find(hypothesis.inputs, model, &HypothesisInput::model);
  return found == hypothesis.inputs.end() ? nullptr : &*found;
}

double parameter(const ParameterValues& parameters, std::string_view name, double otherwise) {
  const auto found = parameters.find(name);
  return found == parameters.end() ? otherwise : found->second.otherwise;
}

// Of one parent the methods that differ in the election alone write the same bytes.
bool same_method(const Truth& truth, std::string_view found) {
  if (truth.method == found) return true;
  const auto family = [](std::string_view name) { return name.substr(0, name.find('_')); };
  return truth.parents.size() == 1 && family(truth.method) == family(found);
}

// The weights as they act: divided by their sum, or times lambda.
std::vector<double> acting(std::span<const double> weights, double lambda, bool averages) {
  double sum = averages ? 0 : 1 / lambda;
  for (const double w : weights) sum += averages ? w : 0;
  std::vector<double> acting;
  for (const double w : weights) acting.push_back(w / sum);
  return acting;
}

void expect_found(const Truth& truth, const Material& material, const Recovery& found) {
  const std::string what = truth.yaml(material);
  ASSERT_TRUE(found.best) << what;
  const Hypothesis& hypothesis = found.best->hypothesis;
  EXPECT_TRUE(found.holds) << what;
  EXPECT_GE(found.best->score.share(), 0.9999) << what;
  EXPECT_TRUE(same_method(truth, hypothesis.method)) << hypothesis.method << "\n" << what;
  if (truth.random()) {
    EXPECT_EQ(hypothesis.seed, truth.seed) << what;
  }
  std::vector<double> wanted, seen;
  for (const Parent& parent : truth.parents) {
    const HypothesisInput* input = input_of(hypothesis, parent.model);
    ASSERT_NE(input, nullptr) << what;
    EXPECT_NEAR(parameter(input->parameters, "density", 1), parent.density, 1e-9) << what;
    if (truth.outliers()) {
      EXPECT_NEAR(parameter(input->parameters, "gamma", 0.01), parent.gamma, 1e-9) << what;
    }
    if (truth.ranked()) {
      EXPECT_NEAR(parameter(input->parameters, "epsilon", 0.15), parent.epsilon, 1e-9) << what;
    }
    wanted.push_back(parent.weight);
    seen.push_back(parameter(input->parameters, "weight", 1));
  }
  const bool averages = truth.averages() && truth.parents.size() > 1;
  if (truth.averages() && !averages) return;  // its weight cancels, lambda may stand for it
  const auto expected = acting(wanted, truth.lambda, averages);
  const auto actual = acting(seen, parameter(hypothesis.parameters, "lambda", 1), averages);
  for (size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(actual[k], expected[k], 1e-3) << what;
}

void recover_drawn(const Material& material, std::string_view method, size_t parents,
                   std::string_view arithmetic, unsigned seed) {
  const Truth truth = Drawn(seed).truth(method, parents, arithmetic, material.parents.size());
  const Case suspect(made(truth.yaml(material)), material.family, material.parents, material.base);
  expect_found(truth, material, recover_recipe(suspect.given(), suspect.evidence(), kMasked));
}

TEST(RecoverMasked, FindsEveryMethodOfOneParent) {
  unsigned seed = 100;
  for (const std::string_view method : kMasked) recover_drawn(moe(), method, 1, "exact", ++seed);
  for (const std::string_view method : {"ties", "breadcrumbs", "dare_linear", "della"}) {
    recover_drawn(moe(), method, 1, "mergekit-0.1.5", ++seed);
  }
}

TEST(RecoverMasked, FindsEveryMethodOfTwoParentsInExactArithmetic) {
  unsigned seed = 200;
  for (const std::string_view method : kMasked) recover_drawn(moe(), method, 2, "exact", ++seed);
}

TEST(RecoverMasked, FindsEveryMethodOfTwoParentsAsMergekitWritesIt) {
  unsigned seed = 300;
  for (const std::string_view method : kMasked) {
    recover_drawn(moe(), method, 2, "mergekit-0.1.5", ++seed);
  }
}

TEST(RecoverMasked, FindsThreeParentsAmongFour) {
  recover_drawn(moe(), "ties", 3, "exact", 401);
  recover_drawn(moe(), "ties", 3, "mergekit-0.1.5", 402);
  recover_drawn(lstm_bf16(), "breadcrumbs", 3, "mergekit-0.1.5", 403);
  recover_drawn(lstm_bf16(), "dare_ties", 3, "mergekit-0.1.4", 404);
  recover_drawn(lstm_bf16(), "dare_linear", 3, "exact", 405);
  recover_drawn(moe(), "della", 3, "exact", 406);
}

TEST(RecoverMasked, FindsMergesOfF32Models) {
  recover_drawn(lstm(), "ties", 2, "exact", 501);
  recover_drawn(lstm(), "ties", 1, "mergekit-0.1.5", 502);
  recover_drawn(lstm(), "breadcrumbs_ties", 2, "mergekit-0.1.5", 503);
  recover_drawn(lstm(), "dare_linear", 2, "mergekit-0.1.5", 504);
  recover_drawn(lstm(), "della_linear", 2, "exact", 505);
}

// Where rounding hides the exact densities, replays must tell neighbours apart.
TEST(RecoverMasked, FindsThreeDensitiesToTheHundredth) {
  const Truth truth{.method = "ties",
                    .parents = {{.model = 1, .weight = 0.5, .density = 0.35},
                                {.model = 2, .weight = 0.3, .density = 0.36},
                                {.model = 4, .weight = 0.45, .density = 0.34}},
                    .lambda = 1.2,
                    .arithmetic = "mergekit-0.1.5"};
  const Case suspect(made(truth.yaml(moe())), moe().family, moe().parents, moe().base);
  expect_found(truth, moe(), recover_recipe(suspect.given(), suspect.evidence(), kMasked));
}

// Kept changes are larger than most, so they are enlarged by less than 1/density.
TEST(RecoverMasked, FindsTheWeightBehindRankedMasks) {
  const Truth truth{.method = "della_linear",
                    .parents = {{.model = 3, .weight = 0.9, .density = 0.4, .epsilon = 0.12}},
                    .seed = 20251109,
                    .arithmetic = "mergekit-0.1.5"};
  const Case suspect(made(truth.yaml(moe())), moe().family, moe().parents, moe().base);
  expect_found(truth, moe(), recover_recipe(suspect.given(), suspect.evidence(), kMasked));
}

TEST(RecoverMasked, FindsTheBaseAmongTheCandidates) {
  for (const auto& [method, seed] : {std::pair("ties", 601u), std::pair("dare_ties", 602u)}) {
    const Truth truth = Drawn(seed).truth(method, 2, "exact", moe().parents.size());
    std::vector<std::string> candidates = moe().parents;
    candidates.push_back(moe().base);
    const Case suspect(made(truth.yaml(moe())), moe().family, candidates, "");
    const Recovery found = recover_recipe(suspect.given(), suspect.evidence(), kMasked);
    expect_found(truth, moe(), found);
    ASSERT_TRUE(found.best);
    EXPECT_EQ(found.best->hypothesis.base, candidates.size());
  }
}

TEST(RecoverMasked, FindsInputsThatMergekitRoundedFirst) {
  Truth truth = Drawn(701).truth("ties", 2, "mergekit-0.1.5", lstm().parents.size());
  Material rounding = lstm();
  rounding.dtype = "bfloat16";
  const Case suspect(made(truth.yaml(rounding)), lstm().family, lstm().parents, lstm().base);
  expect_found(truth, rounding, recover_recipe(suspect.given(), suspect.evidence(), kMasked));
}

// A seed that nobody chose: no replay, but what the masks are is known.
TEST(RecoverMasked, EstimatesMasksWhoseSeedItDoesNotFind) {
  for (const char* arithmetic : {"exact", "mergekit-0.1.5"}) {
    const Truth truth{.method = "dare_linear",
                      .parents = {{.model = 1, .weight = 0.6, .density = 0.3},
                                  {.model = 4, .weight = 0.5, .density = 0.7}},
                      .seed = 2789455377,
                      .arithmetic = arithmetic};
    const Case suspect(made(truth.yaml(moe())), moe().family, moe().parents, moe().base);
    const Evidence evidence = suspect.evidence();
    EXPECT_FALSE(recover_recipe(suspect.given(), evidence, kMasked).holds) << arithmetic;
    const auto estimate = mask_estimate(evidence);
    ASSERT_TRUE(estimate) << arithmetic;
    EXPECT_EQ(estimate->family, MaskFamily::kRandom);
    EXPECT_FALSE(estimate->elected);
    EXPECT_GT(estimate->explained, 0.97);
    ASSERT_EQ(estimate->parents.size(), 2u);
    EXPECT_EQ(estimate->parents[0].model, 1u);
    EXPECT_EQ(estimate->parents[1].model, 4u);
    EXPECT_NEAR(estimate->parents[0].density, 0.3, 0.015);
    EXPECT_NEAR(estimate->parents[1].density, 0.7, 0.015);
    EXPECT_NEAR(estimate->parents[0].factor, 0.6 / 0.3, 0.05);
    EXPECT_NEAR(estimate->parents[1].factor, 0.5 / 0.7, 0.02);
  }
}

TEST(RecoverMasked, NamesNothingForInnocents) {
  const auto expect_none = [](std::shared_ptr<const Checkpoint> suspect,
                              const std::vector<std::string>& candidates, const char* what) {
    for (const bool known : {true, false}) {
      std::vector<std::string> all = candidates;
      if (!known) all.push_back("base");
      const Case innocent(suspect, moe().family, all, known ? "base" : "");
      const Evidence evidence = innocent.evidence();
      const Recovery found = recover_recipe(innocent.given(), evidence, kMasked);
      EXPECT_FALSE(found.best) << what;
      EXPECT_FALSE(mask_estimate(evidence)) << what;
    }
  };
  const std::vector<std::string> others{"code", "news", "manual"};
  expect_none(moe().family["scripture"], others, "another fine-tune");
  expect_none(moe().family["independent"], others, "another model");
  // Sparse changes of the base by a model that is not offered, alone or beside one that is.
  for (const char* method : {"ties", "dare_linear"}) {
    Truth truth{.method = method, .parents = {{.model = 4, .weight = 0.8, .density = 0.4}}};
    expect_none(made(truth.yaml(moe())), others, method);
    truth.parents.push_back({.model = 1, .weight = 0.5, .density = 0.5});
    expect_none(made(truth.yaml(moe())), others, method);
  }
}

}  // namespace
}  // namespace hieron
