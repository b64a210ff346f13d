// hieron plan RECIPE: what a merge will do, from headers alone.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/mergekit_flags.h"
#include "hieron/core/text.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/plan_file.h"
#include "hieron/merge/preflight.h"

namespace hieron {
namespace {

constexpr const char* kExample =
    "  hieron plan recipe.yml\n"
    "  hieron plan recipe.yml --json - --quiet | jq '.accounting[] | select(.rule != \"merged\")'";

struct Asked {
  std::string recipe;
  std::optional<std::string> arithmetic;
  std::optional<uint64_t> shard_bytes, random_seed;
  bool truncate_embeddings = false;
};

constexpr size_t kShown = 12;

std::string models_text(const Plan& plan) {
  std::string text = plan.models.empty() ? "" : "models\n";
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

// At a rate that most disks reach; the computing is what was measured.
constexpr double kDiskRate = 1e9;  // bytes a second

std::string show_time(double seconds) {
  if (seconds < 1) return "< 1 s";
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

double disk_seconds(const Preflight& needs) {
  return static_cast<double>(needs.bytes_read + needs.bytes_written) / kDiskRate;
}

std::string time_text(const Preflight& needs) {
  if (!needs.compute_seconds) {
    return fmt::format("time           not estimated: {}\n", needs.not_estimated);
  }
  const double computing = *needs.compute_seconds, disk = disk_seconds(needs);
  return fmt::format("time           {}: computing {}, measured here now; the disk {} at 1 GB/s\n",
                     show_time(std::max(computing, disk)), show_time(computing), show_time(disk));
}

std::string needs_text(const Preflight& needs, uint64_t memory) {
  std::string text = fmt::format("needs          {} read", show_bytes(needs.bytes_read));
  if (needs.bytes_passed > needs.bytes_read) {
    text += fmt::format(" ({} with all passes)", show_bytes(needs.bytes_passed));
  }
  text += fmt::format(", {} of disk, {} of memory for buffers", show_bytes(needs.bytes_written),
                      show_bytes(memory));
  if (needs.bytes_held > 0) {
    text += fmt::format(" and {} for {}", show_bytes(needs.bytes_held), printable(needs.held_by));
  }
  return text + "\n" + time_text(needs);
}

std::string needs_json(const Preflight& needs, uint64_t memory) {
  using Json = nlohmann::ordered_json;
  const auto computing = needs.compute_seconds;
  const Json json{{"bytes_read", needs.bytes_read},
                  {"bytes_passed", needs.bytes_passed},
                  {"bytes_written", needs.bytes_written},
                  {"buffers", memory},
                  {"bytes_held", needs.bytes_held},
                  {"held_by", needs.held_by.empty() ? Json() : Json(needs.held_by)},
                  {"compute_seconds", computing ? Json(*computing) : Json()},
                  {"seconds", computing ? Json(std::max(*computing, disk_seconds(needs))) : Json()},
                  {"not_estimated", computing ? Json() : Json(needs.not_estimated)}};
  return "\"needs\":" + json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string title(const Plan& plan) {
  if (!plan.method) return fmt::format("{}\n", plan.recipe.file);
  const MethodInfo& about = plan.method->describe();
  return fmt::format("{}: {} in {}\n  {}\n", plan.recipe.file, about.name, plan.arithmetic,
                     about.formula);
}

std::string text_of(const Plan& plan) {
  std::string text = title(plan) + models_text(plan);
  if (plan.problems.empty()) text += accounting_text(plan) + shards_text(plan);
  for (const std::string& warning : plan.warnings) text += fmt::format("warning: {}\n", warning);
  for (const Problem& problem : plan.problems)
    text += fmt::format("refused: {}\n", problem.sentence);
  return text;
}

Outcome plan_recipe(const Asked& asked, const Context& context) {
  PlanOptions options;
  HIERON_TRY(options.source, model_source(context, Access::kHeaders));
  options.arithmetic = asked.arithmetic;
  if (asked.shard_bytes) options.shard_bytes = *asked.shard_bytes;
  options.seed = asked.random_seed;
  options.truncate_embeddings = asked.truncate_embeddings;
  HIERON_TRY(const std::shared_ptr<const Plan> plan, plan_file(asked.recipe, options));
  std::string text = text_of(*plan), json, more;
  if (plan->problems.empty()) {
    const Preflight needs = preflight(*plan, context.options.threads);
    text += needs_text(needs, context.options.memory);
    more = needs_json(needs, context.options.memory);
  }
  if (!context.options.json.empty()) json = plan->to_json(more);
  HIERON_CHECK(deliver(context.options, text, json));
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
  add_truncate_embeddings(*command, asked->truncate_embeddings);
  add_shard_size(*command, asked->shard_bytes);
  on_run(*command, context, [asked, &context] { return plan_recipe(*asked, context); });
}

}  // namespace hieron
