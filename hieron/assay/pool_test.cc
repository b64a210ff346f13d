// Who is offered to an audit, out of a pool: on the real family and fine-tunes made up beside it.
#include "hieron/assay/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "hieron/recover/made_models.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using made::Model;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using testing_recovery::Family;

const Family& family() {
  static const Family kept("textgenrnn");
  return kept;
}

const Model& base() {
  static const Model kept = made::load("textgenrnn/base-bf16");
  return kept;
}

// A fine-tune that nobody trained: the base and noise as large as a real one's change.
std::shared_ptr<const Checkpoint> bystander(uint64_t number) {
  const static Model tune = made::load("textgenrnn/reddit_apple_android-bf16");
  size_t t = 0;
  return made::checkpoint("bystander-" + std::to_string(number),
                          made::changed(base(), [&](made::Tensor& tensor) {
                            std::vector<double> change(tensor.values.size());
                            for (size_t i = 0; i < change.size(); ++i)
                              change[i] = tune[t].values[i] - tensor.values[i];
                            const double size = made::deviation(change);
                            for (size_t i = 0; i < change.size(); ++i) {
                              tensor.values[i] += size * made::normal(1000 * number + t, i);
                            }
                            ++t;
                          }));
}

std::vector<PoolEntry> twelve() {
  std::vector<PoolEntry> pool;
  for (const char* name : {"hacker_news-bf16", "reddit_legaladvice-bf16", "base-bf16",
                           "reddit_rarepuppers-bf16", "reddit_apple_android-bf16"}) {
    pool.push_back({name, family()[name], ""});
  }
  for (uint64_t n = 0; n < 7; ++n) {
    const auto made = bystander(n);
    pool.push_back({made->ref, made, ""});
  }
  return pool;
}

AuditOptions options() {
  AuditOptions options;
  options.seed = *Seed::from_hex("b001");
  return options;
}

std::vector<std::string> offered(const PoolReport& report, const std::string& state) {
  std::vector<std::string> refs;
  for (const PoolMember& member : report.members) {
    if (member.state == state) refs.push_back(member.ref);
  }
  return refs;
}

std::string model(const std::string& name, const std::string& parameters) {
  return "- {model: \"" + family().folder + "/" + name + "-bf16\", parameters: {" + parameters +
         "}}\n";
}

AuditInput suspected(std::shared_ptr<const Checkpoint> suspect) {
  AuditInput input;
  input.suspect = std::move(suspect);
  return input;
}

TEST(Pool, FindsTheParentsOfALinearMerge) {
  AuditInput input = suspected(testing_recovery::made(
      "merge_method: linear\nmodels:\n" + model("hacker_news", "weight: 0.5") +
      model("reddit_legaladvice", "weight: 0.3") + model("reddit_rarepuppers", "weight: 0.2")));
  const auto report = choose_from_pool(twelve(), input, options());
  ASSERT_TRUE(report);
  EXPECT_THAT(offered(*report, "parent"),
              UnorderedElementsAre("hacker_news-bf16", "reddit_legaladvice-bf16",
                                   "reddit_rarepuppers-bf16"));
  EXPECT_EQ(offered(*report, "control").size(), kMostControls);
  const auto result = audit(input, options());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->verdict.kind, VerdictKind::kExactMerge) << result->verdict.sentence;
}

TEST(Pool, FindsTheParentsAndTheBaseOfATiesMerge) {
  AuditInput input = suspected(testing_recovery::made(
      "merge_method: ties\nbase_model: \"" + family().folder + "/base-bf16\"\nmodels:\n" +
      model("hacker_news", "weight: 0.5, density: 0.4") +
      model("reddit_legaladvice", "weight: 0.5, density: 0.4")));
  const auto report = choose_from_pool(twelve(), input, options());
  ASSERT_TRUE(report);
  std::vector<std::string> all = offered(*report, "parent");
  std::ranges::move(offered(*report, "base"), std::back_inserter(all));
  EXPECT_THAT(all,
              UnorderedElementsAre("hacker_news-bf16", "reddit_legaladvice-bf16", "base-bf16"));
}

TEST(Pool, WithoutAParentThereIsNoMerge) {
  AuditInput input = suspected(bystander(99));
  ASSERT_TRUE(choose_from_pool(twelve(), input, options()));
  const auto result = audit(input, options());
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->recipe) << result->verdict.sentence;
  EXPECT_NE(result->verdict.kind, VerdictKind::kExactMerge);
  EXPECT_NE(result->verdict.kind, VerdictKind::kMergeWithChanges) << result->verdict.sentence;
}

TEST(Pool, SetsAsideWhatCannotBeAParent) {
  AuditInput input = suspected(testing_recovery::made("merge_method: linear\nmodels:\n" +
                                                      model("hacker_news", "weight: 0.5") +
                                                      model("reddit_legaladvice", "weight: 0.5")));
  std::vector<PoolEntry> pool = twelve();
  pool.push_back({"damaged", nullptr, "damaged: the header ends early."});
  Model cut = base();
  cut.resize(1);
  for (double& value : cut.front().values) value = 0;
  cut.front().shape = {cut.front().values.size()};
  pool.push_back({"other shapes", made::checkpoint("other shapes", cut), ""});
  pool.push_back(
      {"twice", made::checkpoint("twice", made::load("textgenrnn/hacker_news-bf16")), ""});
  const auto report = choose_from_pool(pool, input, options());
  ASSERT_TRUE(report);
  const auto reason = [&](const std::string& ref) {
    return std::ranges::find(report->members, ref, &PoolMember::ref)->reason;
  };
  EXPECT_THAT(reason("damaged"), testing::StartsWith("cannot be read"));
  EXPECT_THAT(reason("other shapes"), testing::StartsWith("does not fit"));
  EXPECT_THAT(reason("twice"), testing::StartsWith("identical to"));
  EXPECT_THAT(offered(*report, "parent"),
              UnorderedElementsAre("hacker_news-bf16", "reddit_legaladvice-bf16"));
  const auto sentences = pool_sentences(*report);
  EXPECT_THAT(sentences.front(), testing::HasSubstr("15 checkpoints of the pool were looked at"));
}

TEST(Pool, TheSuspectIsNoParentOfItself) {
  AuditInput input = suspected(family()["hacker_news-bf16"]);
  const auto report =
      choose_from_pool({{"itself", family()["hacker_news-bf16"], ""}}, input, options());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->members.front().reason, "the suspect itself");
  EXPECT_THAT(input.parents, IsEmpty());
}

TEST(Pool, NearCopiesAreNamed) {
  AuditInput input = suspected(bystander(50));
  std::vector<PoolEntry> pool = twelve();
  Model near = base();
  for (made::Tensor& tensor : near) {
    for (size_t i = 0; i < tensor.values.size(); i += 97) tensor.values[i] *= 1.05;
  }
  pool.push_back({"near", made::checkpoint("near", near), ""});
  const auto report = choose_from_pool(pool, input, options());
  ASSERT_TRUE(report);
  ASSERT_EQ(report->near_copies.size(), 1u);
  EXPECT_EQ(report->near_copies.front().back(), "near");
}

}  // namespace
}  // namespace hieron
