#include "hieron/recover/recover.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <tuple>

#include "hieron/core/prf.h"
#include "hieron/merge/computed.h"
#include "hieron/model/config.h"
#include "hieron/recover/gather.h"
#include "hieron/recover/recover_run.h"
#include "hieron/recover/sample.h"

namespace hieron {
namespace {

using testing_recovery::Case;
using testing_recovery::Family;
using testing_recovery::recovered;

constexpr const char* kLstm[] = {"base", "hacker_news", "reddit_legaladvice"};

const Family& moe() {
  static const Family family("moe");
  return family;
}
const Family& lstm() {
  static const Family family("textgenrnn");
  return family;
}

std::string linear(const Family& family, const std::vector<std::pair<std::string, double>>& models,
                   const std::string& rest) {
  std::string text = "merge_method: linear\nmodels:\n";
  for (const auto& [model, weight] : models) {
    text += fmt::format("  - model: {}/{}\n    parameters: {{weight: {}}}\n", family.folder, model,
                        weight);
  }
  return text + rest;
}

void expect_weights(const Recovery& found, const std::vector<double>& weights,
                    const std::string& what) {
  ASSERT_TRUE(found.best) << what;
  EXPECT_TRUE(found.holds) << what << ": " << found.best->score.share();
  EXPECT_EQ(found.best->score.share(), 1) << what;
  std::vector<double> seen;
  for (const auto& input : found.best->hypothesis.inputs) {
    seen.push_back(input.parameters.at("weight").otherwise);
  }
  std::ranges::sort(seen, std::ranges::greater{});
  EXPECT_EQ(seen, weights) << what;
}

TEST(Recover, FindsThreeParentsInEveryArithmetic) {
  for (const ArithmeticInfo& about : arithmetics()) {
    if (about.two_inputs_only) continue;
    const auto found = recovered(moe(),
                                 linear(moe(), {{"code", 0.5}, {"news", 0.3}, {"manual", 0.2}},
                                        fmt::format("hieron: {{arithmetic: {}}}\n", about.name)),
                                 {"code", "scripture", "news", "manual"}, "base");
    expect_weights(found, {0.5, 0.3, 0.2}, std::string(about.name));
    EXPECT_EQ(found.best->hypothesis.method, about.arithmetic == Arithmetic::kBf16Delta ||
                                                     about.arithmetic == Arithmetic::kF16Delta
                                                 ? found.best->hypothesis.method
                                                 : "linear");
  }
}

TEST(Recover, FindsWhatMergekitWrites) {
  for (const char* version : {"mergekit-0.1.4", "mergekit-0.1.5"}) {
    for (const char* dtype : {"dtype: bfloat16", "dtype: float32\nout_dtype: bfloat16"}) {
      const auto found =
          recovered(moe(),
                    linear(moe(), {{"manual", 0.45}, {"code", 0.35}, {"base", 0.2}},
                           fmt::format("{}\nhieron: {{arithmetic: {}}}\n", dtype, version)),
                    {"code", "scripture", "manual"}, "base");
      expect_weights(found, {0.45, 0.35, 0.2}, fmt::format("{} {}", version, dtype));
    }
  }
}

TEST(Recover, FindsTheBlendsOfF32Models) {
  for (const char* arithmetic : {"exact", "f32-once", "mergekit-0.1.5", "mergekit-0.1.4"}) {
    const auto found =
        recovered(lstm(),
                  linear(lstm(), {{kLstm[1], 0.55}, {kLstm[2], 0.25}, {kLstm[0], 0.2}},
                         fmt::format("dtype: float32\nhieron: {{arithmetic: {}}}\n", arithmetic)),
                  {kLstm[1], kLstm[2]}, kLstm[0]);
    expect_weights(found, {0.55, 0.25, 0.2}, arithmetic);
  }
}

// Every other way of merging, in hieron's arithmetic and in mergekit's.
std::string filled(std::string text, const Family& family) {
  for (const auto& [mark, name] : {std::pair{"%A", "code"}, std::pair{"%B", "news"}}) {
    for (size_t at = text.find(mark); at != text.npos; at = text.find(mark)) {
      text.replace(at, 2, family.folder + "/" + name);
    }
  }
  return text;
}

// Two models on one arc: the methods agree to the last bit where they are computed exactly.
bool same_bytes(std::string_view found, std::string_view method) {
  const auto is = [](std::string_view a, std::string_view b, std::string_view c,
                     std::string_view d) { return a == c && b == d; };
  return found == method || is(found, method, "nuslerp", "slerp") ||
         is(found, method, "multislerp", "karcher");
}

TEST(Recover, NamesTheMethod) {
  const std::string plain = "  - model: %A\n  - model: %B\n";
  const std::string kept =
      "  - model: %A\n    parameters: {weight: 0.6, density: 0.45}\n"
      "  - model: %B\n    parameters: {weight: 0.5, density: 0.7}\n";
  const std::vector<std::tuple<std::string, std::string, std::string>> recipes{
      {"slerp", plain, "parameters: {t: 0.35}\nbase_model: %A\n"},
      {"karcher", plain, ""},
      {"model_stock", plain, "base_model: @\n"},
      {"arcee_fusion", "  - model: %B\n", "base_model: @\n"},
      {"sce", plain, "base_model: @\nparameters: {select_topk: 0.4}\n"},
      {"nearswap", "  - model: %B\n", "base_model: @\nparameters: {t: 0.003}\n"},
      {"ties", kept, "base_model: @\nparameters: {normalize: true}\n"},
      {"breadcrumbs", kept, "base_model: @\nparameters: {gamma: 0.02}\n"},
  };
  for (const char* arithmetic : {"exact", "mergekit-0.1.5"}) {
    for (const auto& [method, models, rest] : recipes) {
      // mergekit stores what it fuses as f32: not found yet.
      if (method == "arcee_fusion" && std::string_view(arithmetic) != "exact") continue;
      std::string text = fmt::format(
          "merge_method: {}\nmodels:\n{}{}dtype: bfloat16\nhieron: {{arithmetic: {}, experts: "
          "separate}}\n",
          method, models, rest, arithmetic);
      if (const size_t at = text.find('@'); at != text.npos) {
        text.replace(at, 1, moe().folder + "/base");
      }
      const auto found =
          recovered(moe(), filled(text, moe()), {"code", "scripture", "news"}, "base");
      ASSERT_TRUE(found.best) << method << " " << arithmetic;
      EXPECT_TRUE(found.holds) << method << " " << arithmetic << " " << found.best->score.share();
      EXPECT_TRUE(same_bytes(found.best->hypothesis.method, method))
          << method << " " << arithmetic << ": " << found.best->hypothesis.method;
    }
  }
}

TEST(Recover, FindsTheSeedOfARandomMask) {
  const auto found = recovered(
      moe(),
      filled(fmt::format("merge_method: dare_linear\nbase_model: {}/base\nmodels:\n"
                         "  - model: %A\n    parameters: {{weight: 0.6, density: 0.5}}\n"
                         "  - model: %B\n    parameters: {{weight: 0.4, density: 0.7}}\n"
                         "dtype: bfloat16\n"
                         "hieron: {{arithmetic: mergekit-0.1.5, seed: 1234, experts: separate}}\n",
                         moe().folder),
             moe()),
      {"code", "scripture", "news"}, "base");
  ASSERT_TRUE(found.best);
  EXPECT_TRUE(found.holds) << found.best->score.share();
  EXPECT_EQ(found.best->hypothesis.seed, 1234u);
  EXPECT_EQ(found.best->hypothesis.method, "dare_linear");
}

TEST(Recover, NamesNothingForAnotherFineTune) {
  const auto found = Case(moe()["scripture"], moe(), {"code", "news", "manual"}, "base").recover();
  EXPECT_FALSE(found.holds);
}

}  // namespace
}  // namespace hieron
