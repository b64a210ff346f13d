// hieron plan RECIPE: what a merge will do, from headers alone.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>

#include "hieron/cli/command.h"
#include "hieron/cli/mergekit_flags.h"
#include "hieron/cli/recipe_file.h"
#include "hieron/core/text.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/plan_documents.h"

namespace hieron {
namespace {

constexpr const char* kExample =
    "  hieron plan recipe.yml\n"
    "  hieron plan recipe.yml --json - --quiet | jq '.accounting[] | select(.rule != \"merged\")'";

struct Asked {
  std::string recipe;
  std::optional<std::string> arithmetic;
  std::optional<uint64_t> shard_bytes, random_seed;
};

constexpr size_t kShown = 12;

std::string models_text(const Plan& plan) {
  std::string text;
  for (const PlannedModel& model : plan.models) {
    text += fmt::format("  {}  {} tensors, {}\n", printable(model.ref),
                        with_commas(model.checkpoint->tensors.size()),
                        show_bytes(model.checkpoint->weight_bytes()));
  }
  return text;
}

std::string accounting_text(const Plan& plan) {
  std::array<uint64_t, 4> counts{};
  for (const AccountedTensor& a : plan.accounting) ++counts[static_cast<size_t>(a.rule)];
  std::string text = fmt::format("input tensors  {} merged, {} copied, {} dropped, {} refused\n",
                                 with_commas(counts[0]), with_commas(counts[1]),
                                 with_commas(counts[2]), with_commas(counts[3]));
  size_t shown = 0;
  for (const AccountedTensor& a : plan.accounting) {
    if (a.rule != Rule::kDropped || shown++ >= kShown) continue;
    text += fmt::format("  dropped: {} of {} ({})\n", printable(a.tensor->name),
                        printable(plan.models[a.model].ref), plan.reasons[a.reason]);
  }
  if (shown > kShown)
    text += fmt::format("  and {} more (all of them in --json)\n", shown - kShown);
  return text;
}

std::string shards_text(const Plan& plan) {
  std::string text = fmt::format("output         {} tensors, {} in {} shard{}\n",
                                 with_commas(plan.tensors.size()), show_bytes(plan.output_bytes()),
                                 plan.shards.size(), plan.shards.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(kShown, plan.shards.size()); ++i) {
    text += fmt::format("  {}  {} tensors, {}\n", plan.shards[i].name,
                        with_commas(plan.shards[i].count), show_bytes(plan.shards[i].bytes));
  }
  if (plan.shards.size() > kShown)
    text += fmt::format("  and {} more\n", plan.shards.size() - kShown);
  return text;
}

std::string text_of(const Plan& plan) {
  std::string text =
      fmt::format("{}: {} in {}\n  {}\nmodels\n{}", plan.recipe.file, plan.method->describe().name,
                  plan.arithmetic, plan.method->describe().formula, models_text(plan));
  if (plan.problems.empty()) text += accounting_text(plan) + shards_text(plan);
  for (const std::string& warning : plan.warnings) text += fmt::format("warning: {}\n", warning);
  for (const Problem& problem : plan.problems)
    text += fmt::format("refused: {}\n", problem.sentence);
  return text;
}

Outcome plan_recipe(const Asked& asked, const Context& context) {
  PlanOptions options;
  options.arithmetic = asked.arithmetic;
  if (asked.shard_bytes) options.shard_bytes = *asked.shard_bytes;
  options.seed = asked.random_seed;
  HIERON_TRY(const std::shared_ptr<const Plan> plan, plan_file(asked.recipe, options));
  const bool wants_json = !context.options.json.empty();
  HIERON_CHECK(
      deliver(context.options, text_of(*plan), wants_json ? plan->to_json() : std::string()));
  HIERON_CHECK(executable(*plan));
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command =
      add_command(app, context, "plan", "what a merge will do, from headers alone", kExample);
  command->add_option("RECIPE", asked->recipe, "mergekit YAML")->required();
  command
      ->add_option("--arithmetic", asked->arithmetic,
                   "exact (default), mergekit-0.1.5, mergekit-0.1.4, …")
      ->type_name("NAME");
  add_random_seed(*command, asked->random_seed);
  add_shard_size(*command, asked->shard_bytes);
  on_run(*command, context, [asked, &context] { return plan_recipe(*asked, context); });
}

}  // namespace hieron
