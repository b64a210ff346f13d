// hieron merge RECIPE OUT: make a checkpoint from a mergekit recipe.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "hieron/cli/command.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/mergekit_flags.h"
#include "hieron/cli/progress.h"
#include "hieron/cli/recipe_file.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/generation.h"
#include "hieron/merge/journal.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/plan_file.h"
#include "hieron/merge/preflight.h"
#include "hieron/merge/recipe_documents.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kExample =
    "  hieron merge recipe.yml merged\n"
    "  hieron merge recipe.yml merged --arithmetic mergekit-0.1.5 --random-seed 7\n"
    "  hieron merge several.yml merged -I intermediates\n"
    "  hieron merge a.yml b.yml --out-dir merges";

struct Asked {
  std::vector<std::string> paths;  // RECIPE OUT, or RECIPE… with --out-dir
  std::string out_dir, out_path, intermediates;
  std::optional<std::string> arithmetic;
  std::optional<uint64_t> shard_bytes;
  bool overwrite = false, dry_run = false;
  MergekitFlags mergekit;
};

struct Job {
  std::string recipe, out;  // out may be empty: a file of named documents, with -I
};

struct Done {
  Job job;
  std::shared_ptr<const Plan> plan;
  std::optional<MergeResult> result;  // none: a dry run, or made before
  bool made_before = false;
};

// Each to a folder of its name.
Result<std::vector<Job>> jobs_for_folder(const Asked& asked) {
  std::vector<Job> all;
  for (const std::string& recipe : asked.paths) {
    const std::string stem = fs::path(recipe).stem().string();
    for (const Job& other : all) {
      if (fs::path(other.recipe).stem() == stem) {
        return usage_error(fmt::format("{} and {} would both be written to {}/{}; rename one.",
                                       other.recipe, recipe, asked.out_dir, stem));
      }
    }
    all.push_back({recipe, (fs::path(asked.out_dir) / stem).string()});
  }
  return all;
}

Result<std::vector<Job>> jobs(const Asked& asked) {
  if (!asked.out_dir.empty() && asked.out_path.empty()) return jobs_for_folder(asked);
  std::vector<std::string> paths = asked.paths;
  if (!asked.out_path.empty()) paths.push_back(asked.out_path);
  if (paths.size() == 1 && !asked.intermediates.empty()) paths.emplace_back();
  if (paths.size() != 2 || !asked.out_dir.empty()) {
    return usage_error(
        "merge takes a RECIPE and an OUT folder, or recipes with --out-dir. See `hieron merge "
        "--help`.");
  }
  return std::vector<Job>{{paths[0], paths[1]}};
}

// --random-seed, else --seed if it has 64 bits.
Result<std::optional<uint64_t>> seed_of(const Asked& asked, const Context& context) {
  if (asked.mergekit.random_seed || !context.options.seed) return asked.mergekit.random_seed;
  const std::string hex = context.options.seed->hex();
  const std::string_view low = std::string_view(hex).substr(hex.size() - 16);
  if (hex.find_first_not_of('0') < hex.size() - 16) {
    return usage_error("The seed of a merge has 64 bits; give --seed at most 16 hex digits.");
  }
  return parse_seed(fmt::format("0x{}", low));
}

Result<PlanOptions> plan_options(const Asked& asked, const Context& context) {
  PlanOptions options;
  options.arithmetic = asked.arithmetic;
  options.truncate_embeddings = asked.mergekit.truncate_embeddings;
  if (asked.shard_bytes) options.shard_bytes = *asked.shard_bytes;
  HIERON_TRY(options.seed, seed_of(asked, context));
  HIERON_TRY(options.source,
             model_source(context, asked.dry_run ? Access::kHeaders : Access::kWhole));
  return options;
}

// OUT holds what this plan makes: its manifest says so, every file has the size it lists, and no
// input is younger.
bool made_before(const Plan& plan, const std::string& out) {
  std::error_code ignored;
  if (fs::exists(fs::path(out) / kJournalName, ignored)) return false;  // but for its last step
  const auto manifest_file = open_file((fs::path(out) / kManifestName).string());
  if (!manifest_file) return false;
  for (const PlannedModel& model : plan.models) {
    for (const CheckpointFile& file : model.checkpoint->files) {
      if (file.file && file.file->modified() > (*manifest_file)->modified()) return false;
    }
  }
  const auto text = read_text((fs::path(out) / kManifestName).string(), 1 << 30);
  if (!text) return false;
  const Json manifest = Json::parse(*text, nullptr, false);
  if (!manifest.is_object() || manifest.value("plan", Json()) != Json(plan.digest())) return false;
  const Json files = manifest.value("files", Json());
  return files.is_array() && std::ranges::all_of(files, [&](const Json& file) {
           if (!file.is_object() || !file.value("path", Json()).is_string()) return false;
           std::error_code missing;
           const auto bytes =
               fs::file_size(fs::path(out) / file["path"].get<std::string>(), missing);
           return !missing && file.value("bytes", Json()) == Json(bytes);
         });
}

// Is the plan one to carry out, and this machine large enough?
Status possible(const Plan& plan) {
  HIERON_CHECK(executable(plan));
  if (!mergekit_version(plan.arithmetic)) return {};  // exact holds little
  return check_memory(preflight(plan, 1));
}

// Carries out merges of the same tensors in one reading of their inputs.
Status carry_out(std::span<Done> merges, const Asked& asked, const Context& context) {
  if (merges.front().made_before) return {};
  std::vector<MergeJob> jobs;
  for (const Done& merge : merges) jobs.push_back({merge.plan.get(), merge.job.out});
  if (asked.dry_run) {
    // With -I the plans are others, made from folders that are not written yet.
    if (!asked.intermediates.empty()) return {};
    return check_outputs(jobs, {.overwrite = asked.overwrite, .walk = {}});
  }
  ProgressBar bar(context.options, "merging");
  ExecuteOptions execution{.overwrite = asked.overwrite,
                           .copy_tokenizer = asked.mergekit.copy_tokenizer,
                           .walk = walk_options(context, bar)};
  if (execution.walk.threads == 0) {
    execution.walk.threads = asked.mergekit.num_threads.value_or(0);
  }
  HIERON_TRY(std::vector<MergeResult> results, execute_together(jobs, execution));
  for (size_t i = 0; i < merges.size(); ++i) merges[i].result = std::move(results[i]);
  return {};
}

// Every document to a folder; those made from it read it there.
Result<std::vector<Done>> merge_by_folders(const Job& job, std::vector<Recipe> recipes,
                                           const Asked& asked, const PlanOptions& options,
                                           const Context& context) {
  std::error_code failed;
  const fs::path folder = fs::absolute(asked.intermediates, failed);
  std::vector<Done> all;
  for (size_t i = 0; i < recipes.size(); ++i) {
    Recipe& recipe = recipes[i];
    Job part{job.recipe, (folder / recipe.name).string()};
    if (i + 1 == recipes.size() && !job.out.empty()) part.out = job.out;
    if (recipe.name.empty() && job.out.empty()) {
      return usage_error(fmt::format("{}, line {}: the last merge has no name; give an OUT folder.",
                                     recipe.file, recipe.line));
    }
    read_documents_from(recipe, folder.string());
    HIERON_TRY(std::shared_ptr<const Plan> plan, make_plan(std::move(recipe), options));
    if (!asked.overwrite && made_before(*plan, part.out)) {
      all.push_back({std::move(part), std::move(plan), std::nullopt, true});
      continue;
    }
    HIERON_CHECK(possible(*plan));
    all.push_back({std::move(part), std::move(plan), std::nullopt});
    HIERON_CHECK(carry_out(std::span(&all.back(), 1), asked, context));
  }
  return all;
}

// Do two plans read any model in common, so that reading them together saves something?
bool share_a_model(const Plan& a, const Plan& b) {
  return std::ranges::any_of(a.models, [&](const PlannedModel& model) {
    return std::ranges::find(b.models, model.checkpoint, &PlannedModel::checkpoint) !=
           b.models.end();
  });
}

// Everything is planned, and found possible, before anything is written.
Result<std::vector<Done>> merge_files(std::span<const Job> jobs, const Asked& asked,
                                      const Context& context) {
  HIERON_TRY(PlanOptions options, plan_options(asked, context));
  options.opened = std::make_shared<OpenedModels>();
  std::vector<std::vector<Done>> together;
  for (const Job& job : jobs) {
    HIERON_TRY(std::shared_ptr<const Plan> plan, plan_file(job.recipe, options));
    HIERON_CHECK(possible(*plan));
    if (!asked.out_dir.empty() && !asked.overwrite && made_before(*plan, job.out)) {
      together.emplace_back().push_back({job, std::move(plan), std::nullopt, true});
      continue;
    }
    const auto alike = std::ranges::find_if(together, [&](const std::vector<Done>& merges) {
      if (merges.front().made_before) return false;
      const Plan& first = *merges.front().plan;
      return same_tensors(first, *plan) && share_a_model(first, *plan);
    });
    Done done{job, std::move(plan), std::nullopt};
    if (alike != together.end()) {
      alike->push_back(std::move(done));
    } else {
      together.emplace_back().push_back(std::move(done));
    }
  }
  std::vector<Done> all;
  for (std::vector<Done>& merges : together) {
    HIERON_CHECK(carry_out(merges, asked, context));
    std::ranges::move(merges, std::back_inserter(all));
  }
  return all;
}

Result<std::vector<Done>> merge_all(std::span<const Job> jobs, const Asked& asked,
                                    const Context& context) {
  if (asked.intermediates.empty() || asked.dry_run) return merge_files(jobs, asked, context);
  HIERON_TRY(const PlanOptions options, plan_options(asked, context));
  std::vector<Done> all;
  for (const Job& job : jobs) {
    HIERON_TRY(std::vector<Recipe> recipes, read_merges(job.recipe, asked.arithmetic));
    HIERON_TRY(std::vector<Done> made,
               merge_by_folders(job, std::move(recipes), asked, options, context));
    std::ranges::move(made, std::back_inserter(all));
  }
  return all;
}

std::string text_of(const Done& done) {
  const Plan& plan = *done.plan;
  std::string text;
  for (const std::string& warning : plan.warnings) text += fmt::format("warning: {}\n", warning);
  if (done.made_before) {
    return text +
           fmt::format(
               "{}: its manifest names this plan, and its files have their sizes; not made again "
               "(hieron verify checks the bytes, --overwrite makes it anew)\n",
               done.job.out);
  }
  if (!done.result) {
    return text +
           fmt::format("{}: {} tensors in {} shard{}, {}; {}; nothing was written (--dry-run)\n",
                       done.job.out, with_commas(plan.tensors.size()), plan.shards.size(),
                       plan.shards.size() == 1 ? "" : "s", show_bytes(plan.output_bytes()),
                       plan.arithmetic);
  }
  const MergeResult& result = *done.result;
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    text += fmt::format("{}  {}  {}\n", result.files[i].sha256, result.files[i].name,
                        show_bytes(result.files[i].bytes));
  }
  text += fmt::format(
      "{}: {} tensors, {} in {} shard{}{}, {} {}, {:.2f} s{}\n", done.job.out,
      with_commas(plan.tensors.size()), show_bytes(plan.output_bytes()), plan.shards.size(),
      plan.shards.size() == 1 ? "" : "s",
      result.resumed_shards
          ? fmt::format(" ({} taken over from an interrupted run)", result.resumed_shards)
          : "",
      plan.method->describe().name, plan.arithmetic, result.seconds,
      result.merges_per_read > 1
          ? fmt::format(" for the {} that were read together", result.merges_per_read)
          : "");
  return text;
}

Json json_of(const Done& done) {
  Json files = Json::array();
  Json shards = Json::array();
  for (const PlannedShard& shard : done.plan->shards) {
    shards.push_back({{"name", shard.name}, {"bytes", shard.bytes}, {"tensors", shard.count}});
  }
  Json out{{"recipe", done.job.recipe},           {"out", done.job.out},
           {"plan", done.plan->digest()},         {"method", done.plan->method->describe().name},
           {"arithmetic", done.plan->arithmetic}, {"tensors", done.plan->tensors.size()},
           {"shards", std::move(shards)}};
  if (done.result) {
    for (const WrittenFile& file : done.result->files) {
      files.push_back({{"path", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
    }
  }
  out["bytes_read"] = done.result ? done.result->bytes_read : 0;
  out["merges_per_read"] = done.result ? done.result->merges_per_read : 1;
  out["bytes_written"] = done.result ? done.result->bytes_written : 0;
  out["resumed_shards"] = done.result ? done.result->resumed_shards : 0;
  out["files"] = std::move(files);
  out["seed"] = done.plan->seed;
  out["made_before"] = done.made_before;
  out["dry_run"] = !done.result && !done.made_before;
  out["warnings"] = done.plan->warnings;
  out["seconds"] = done.result ? done.result->seconds : 0;
  return out;
}

Outcome merge(const Asked& asked, const Context& context) {
  if (asked.mergekit.forbidden) return usage_error(*asked.mergekit.forbidden);
  HIERON_TRY(const std::vector<Job> all, jobs(asked));
  std::string text;
  Json merges = Json::array();
  for (const std::string& warning : asked.mergekit.warnings) {
    text += fmt::format("warning: {}\n", warning);
  }
  HIERON_TRY(const std::vector<Done> made, merge_all(all, asked, context));
  for (const Done& done : made) {
    text += text_of(done);
    merges.push_back(json_of(done));
  }
  const Json json{{"schema", "hieron.merge/1"},
                  {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
                  {"merges", std::move(merges)},
                  {"warnings", asked.mergekit.warnings}};
  HIERON_CHECK(deliver(context.options, text,
                       json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return 0;
}

}  // namespace

void add_merge(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command = add_command(app, context, "merge",
                                  "make a checkpoint from a recipe (mergekit YAML)", kExample);
  command->add_option("PATH", asked->paths, "RECIPE and OUT folder; or recipes, with --out-dir")
      ->required();
  command
      ->add_option("--out-dir", asked->out_dir, "Write each recipe to a folder of its name in here")
      ->type_name("DIR");
  command
      ->add_option("--arithmetic", asked->arithmetic,
                   "exact (default), mergekit-0.1.5, mergekit-0.1.4, …")
      ->type_name("NAME");
  command
      ->add_option("-I,--intermediate-dir", asked->intermediates,
                   "Write each named document of a recipe to a folder of its name in here")
      ->type_name("DIR");
  command->add_option("--out-path", asked->out_path, "OUT, as mergekit-multi spells it")->group("");
  add_shard_size(*command, asked->shard_bytes);
  command->add_flag("--overwrite", asked->overwrite, "Replace the checkpoint in OUT");
  command->add_flag("--dry-run", asked->dry_run,
                    "Check everything from headers, and OUT (not with -I); write nothing");
  add_mergekit_flags(*command, asked->mergekit);
  on_run(
      *command, context, [asked, &context] { return merge(*asked, context); },
      [asked] {
        std::vector<std::string> made = asked->paths;
        made.insert(made.end(), {asked->out_path, asked->out_dir, asked->intermediates});
        return made;
      });
}

}  // namespace hieron
