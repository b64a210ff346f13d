// Honest parents, audited against what was made of them.
#include "hieron/assay/turned.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "hieron/assay/audit.h"
#include "hieron/recover/recover_run.h"

namespace hieron {
namespace {

using testing_recovery::Family;
using testing_recovery::made;

const Family& moe() {
  static const Family family("moe");
  return family;
}

// Of code, alone or with news, by a method that drops changes.
std::shared_ptr<const Checkpoint> child(const std::string& method, double weight, double density,
                                        bool two, const std::string& dtype) {
  std::string yaml = fmt::format(
      "merge_method: {}\nbase_model: {}/base\ndtype: {}\nhieron: {{seed: 2789455377}}\nmodels:\n",
      method, moe().folder, dtype);
  const auto add = [&](const char* model) {
    yaml += fmt::format("  - model: {}/{}\n    parameters: {{weight: {}, density: {}}}\n",
                        moe().folder, model, weight, density);
  };
  add("code");
  if (two) add("news");
  return made(yaml);
}

AuditResult audited(std::shared_ptr<const Checkpoint> suspect,
                    std::shared_ptr<const Checkpoint> parent, bool with_control) {
  AuditInput input;
  input.suspect = std::move(suspect);
  input.parents = {std::move(parent)};
  input.base = moe()["base"];
  if (with_control) input.controls = {moe()["scripture"]};
  AuditOptions options;
  options.seed = *Seed::from_hex("5eed");
  auto result = audit(input, options);
  EXPECT_TRUE(result) << (result ? "" : result.error().sentence);
  return result ? *std::move(result) : AuditResult{};
}

TEST(Turned, ParentsAreNotAccusedThroughChildrenThatDropTheirChanges) {
  struct Child {
    const char* method;
    double weight, density;
    bool two;
    const char* dtype;
  };
  for (const Child& c : {Child{"dare_linear", 0.7, 0.5, false, "float32"},
                         Child{"dare_linear", 0.5, 0.5, false, "bfloat16"},
                         Child{"dare_linear", 1.0, 0.9, false, "bfloat16"},
                         Child{"dare_linear", 0.6, 0.5, true, "bfloat16"},
                         Child{"dare_ties", 0.6, 0.5, true, "bfloat16"},
                         Child{"ties", 0.7, 0.5, false, "bfloat16"}}) {
    const auto made_of_code = child(c.method, c.weight, c.density, c.two, c.dtype);
    for (const bool with_control : {true, false}) {
      if (with_control && c.weight != 0.7) continue;  // one of each kind
      const AuditResult result = audited(moe()["code"], made_of_code, with_control);
      const VerdictKind kind = result.verdict.kind;
      EXPECT_TRUE(kind == VerdictKind::kUndetermined || kind == VerdictKind::kFineTune)
          << c.method << " " << c.weight << " " << c.density << ": " << result.verdict.sentence;
      EXPECT_FALSE(result.recipe) << c.method;
    }
  }
}

TEST(Turned, TheChildIsStillFoundOut) {
  const AuditResult result =
      audited(child("dare_linear", 0.5, 0.5, false, "bfloat16"), moe()["code"], true);
  EXPECT_EQ(result.verdict.kind, VerdictKind::kMergeWithChanges) << result.verdict.sentence;
}

}  // namespace
}  // namespace hieron
