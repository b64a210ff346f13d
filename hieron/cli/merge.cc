// hieron merge RECIPE OUT: make a checkpoint from a mergekit recipe.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "hieron/cli/command.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/merge/execute.h"
#include "hieron/merge/plan.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExample =
    "  hieron merge recipe.yml merged\n"
    "  hieron merge recipe.yml merged --arithmetic mergekit-0.1.5 --out-shard-size 2GB\n"
    "  hieron merge a.yml b.yml --out-dir merges";

struct Asked {
  std::vector<std::string> paths;  // RECIPE OUT, or RECIPE… with --out-dir
  std::string out_dir;
  std::optional<std::string> arithmetic;
  std::optional<uint64_t> shard_bytes;
  bool overwrite = false, dry_run = false;
  bool copy_tokenizer = true, trust_remote_code = false;
  std::vector<std::string> idle_flags;  // mergekit's, without meaning here
};

struct Job {
  std::string recipe, out;
};

struct Done {
  Job job;
  std::shared_ptr<const Plan> plan;
  std::optional<MergeResult> result;  // none: a dry run
};

Result<std::vector<Job>> jobs(const Asked& asked) {
  std::vector<Job> all;
  if (asked.out_dir.empty()) {
    if (asked.paths.size() != 2) {
      return usage_error(
          "merge takes a RECIPE and an OUT folder, or recipes with --out-dir. See `hieron merge "
          "--help`.");
    }
    return std::vector<Job>{{asked.paths[0], asked.paths[1]}};
  }
  for (const std::string& recipe : asked.paths) {
    const std::string stem = std::filesystem::path(recipe).stem().string();
    for (const Job& other : all) {
      if (std::filesystem::path(other.recipe).stem() == stem) {
        return usage_error(fmt::format("{} and {} would both be written to {}/{}; rename one.",
                                       other.recipe, recipe, asked.out_dir, stem));
      }
    }
    all.push_back({recipe, (std::filesystem::path(asked.out_dir) / stem).string()});
  }
  return all;
}

Result<Done> merge_one(const Job& job, const Asked& asked, const Context& context) {
  HIERON_TRY(Recipe recipe, read_recipe(job.recipe, asked.arithmetic.value_or("")));
  PlanOptions options;
  options.arithmetic = asked.arithmetic;
  if (asked.shard_bytes) options.shard_bytes = *asked.shard_bytes;
  HIERON_TRY(std::shared_ptr<const Plan> plan, make_plan(std::move(recipe), options));
  HIERON_CHECK(executable(*plan));
  Done done{job, plan, std::nullopt};
  if (asked.dry_run) return done;
  ProgressBar bar(context.options, "merging");
  const ExecuteOptions execution{.overwrite = asked.overwrite,
                                 .copy_tokenizer = asked.copy_tokenizer,
                                 .walk = walk_options(context, bar)};
  HIERON_TRY(done.result, execute(*plan, job.out, execution));
  return done;
}

std::vector<std::string> flag_warnings(const Asked& asked) {
  std::vector<std::string> warnings;
  for (const std::string& flag : asked.idle_flags) {
    warnings.push_back(fmt::format("{} has no meaning here and is ignored.", flag));
  }
  return warnings;
}

std::string text_of(const Done& done) {
  const Plan& plan = *done.plan;
  std::string text;
  for (const std::string& warning : plan.warnings) text += fmt::format("warning: {}\n", warning);
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
      "{}: {} tensors, {} in {} shard{}{}, {} {}, {:.2f} s\n", done.job.out,
      with_commas(plan.tensors.size()), show_bytes(plan.output_bytes()), plan.shards.size(),
      plan.shards.size() == 1 ? "" : "s",
      result.resumed_shards
          ? fmt::format(" ({} taken over from an interrupted run)", result.resumed_shards)
          : "",
      plan.method->describe().name, plan.arithmetic, result.seconds);
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
  out["bytes_written"] = done.result ? done.result->bytes_written : 0;
  out["resumed_shards"] = done.result ? done.result->resumed_shards : 0;
  out["files"] = std::move(files);
  out["dry_run"] = !done.result;
  out["warnings"] = done.plan->warnings;
  out["seconds"] = done.result ? done.result->seconds : 0;
  return out;
}

Outcome merge(const Asked& asked, const Context& context) {
  if (asked.trust_remote_code) {
    return usage_error(
        "--trust-remote-code is refused: nothing that comes with a model is ever executed.");
  }
  HIERON_TRY(const std::vector<Job> all, jobs(asked));
  std::string text;
  Json merges = Json::array();
  for (const std::string& warning : flag_warnings(asked))
    text += fmt::format("warning: {}\n", warning);
  for (const Job& job : all) {
    HIERON_TRY(const Done done, merge_one(job, asked, context));
    text += text_of(done);
    merges.push_back(json_of(done));
  }
  const Json json{{"schema", "hieron.merge/1"},
                  {"tool", {{"name", "hieron"}, {"version", HIERON_VERSION}}},
                  {"merges", std::move(merges)},
                  {"warnings", flag_warnings(asked)}};
  HIERON_CHECK(deliver(context.options, text,
                       json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return 0;
}

// mergekit's own flags. Those about memory and devices have no meaning here.
void add_mergekit_flags(CLI::App& command, Asked& asked) {
  command.add_flag("--copy-tokenizer,!--no-copy-tokenizer", asked.copy_tokenizer,
                   "Copy the tokenizer files (default)");
  command.add_flag("--trust-remote-code", asked.trust_remote_code, "Refused")->group("");
  const auto ignored = [&](const std::string& flag) {
    command.add_flag_callback(flag, [&asked, flag] { asked.idle_flags.push_back(flag); })
        ->group("");
  };
  for (const char* flag :
       {"--allow-crimes", "--cuda", "--low-cpu-memory", "--lazy-unpickle", "--clone-tensors",
        "--read-to-gpu", "--multi-gpu", "--gpu-rich", "--async-write", "--safe-serialization",
        "--write-model-card", "--unsafe-truncate-embeddings"}) {
    ignored(flag);
  }
  const auto ignored_value = [&](const std::string& flag) {
    command
        .add_option_function<std::string>(
            flag, [&asked, flag](const std::string&) { asked.idle_flags.push_back(flag); })
        ->group("");
  };
  for (const char* flag :
       {"--random-seed", "--lora-merge-cache", "--lora-merge-dtype", "--transformers-cache",
        "--device", "--num-threads", "--write-threads"}) {
    ignored_value(flag);
  }
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
  add_size_option(*command, "--out-shard-size", asked->shard_bytes,
                  "Bytes of tensors in a shard (default: 5GB)");
  command->add_flag("--overwrite", asked->overwrite, "Replace the checkpoint in OUT");
  command->add_flag("--dry-run", asked->dry_run, "Check everything from headers, write nothing");
  add_mergekit_flags(*command, *asked);
  on_run(*command, context, [asked, &context] { return merge(*asked, context); });
}

}  // namespace hieron
