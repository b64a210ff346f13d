// hieron audit SUSPECT --parent REF... [--base REF] [--control REF...]: what was this checkpoint
// made of?
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "hieron/assay/also.h"
#include "hieron/assay/audit.h"
#include "hieron/assay/pool.h"
#include "hieron/cli/command.h"
#include "hieron/cli/evidence.h"
#include "hieron/cli/hub_session.h"
#include "hieron/cli/pool_folder.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/io/output_file.h"
#include "hieron/merge/computed.h"
#include "hieron/report/html.h"
#include "hieron/report/json.h"
#include "hieron/report/terminal.h"

namespace hieron {
namespace {

constexpr const char* kExample =
    "  hieron audit suspect --parent fine-tune --base base --control other-fine-tune \\\n"
    "      --html report.html --json report.json --recipe recovered.yml\n\n"
    "Which of many are its parents?\n\n"
    "  hieron audit suspect --pool models --base base\n\n"
    "Exit status 0, or 1 if --expect names other verdicts than the one found:\n\n"
    "  hieron audit suspect --parent fine-tune --base base --expect exact-merge,merge-with-changes";

struct Asked {
  std::string suspect, base, pool, also, sample = "auto", expect, html, recipe, seeds = "popular";
  std::vector<std::string> parents, controls;
  AskedEvidence evidence;
};

Result<std::vector<VerdictKind>> parse_expected(const std::string& text) {
  std::vector<VerdictKind> kinds;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const auto kind = parse_verdict_kind(word);
    if (!kind) {
      return usage_error(
          fmt::format("--expect: \"{}\" is no verdict; there are copy, reformatted-copy, "
                      "exact-merge, merge-with-changes, layer-stack, edit, fine-tune, "
                      "obfuscated-copy, independent, undetermined.",
                      printable(word)));
    }
    kinds.push_back(*kind);
    begin = end + 1;
  }
  return kinds;
}

// Of models that are far away, per tensor and model: first, and where that decides nothing.
constexpr uint64_t kFirstSample = 16u << 10, kMoreSample = 64u << 10;

bool any_far(AuditInput input, const std::shared_ptr<const Checkpoint>& also,
             const std::vector<PoolEntry>& pool) {
  const auto far = [](const auto& model) { return model && is_far(*model); };
  return far(also) || std::ranges::any_of(pool, far, &PoolEntry::checkpoint) ||
         std::ranges::any_of(models_of(input), [&](const auto* model) { return far(*model); });
}

// For one stage of the audit. How much is read at a time is the audit's choice: a pack's recorder
// has set it.
WalkOptions stage(const Context& context, ProgressBar& progress, const AuditOptions& options) {
  WalkOptions walk = walk_options(context, progress);
  walk.read_bytes = options.walk.read_bytes;
  return walk;
}

// auto and full: every element of local files. SIZE: so many bytes of each tensor and model.
Result<uint64_t> parse_sample(const std::string& text) {
  if (text == "auto" || text == "full") return 0;
  HIERON_TRY(const uint64_t bytes, parse_size(text));
  if (bytes == 0)
    return usage_error("--sample: 0 bytes show nothing; give a size such as 64KiB, or full.");
  return bytes;
}

TerminalStyle style_of_terminal() {
  TerminalStyle style;
  winsize window{};
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
    style.width = std::min<int>(window.ws_col, 110);
  }
  const char* no_colour = std::getenv("NO_COLOR");
  style.colour = terminal && !(no_colour && *no_colour);
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (!value || !*value) continue;
    const std::string_view locale(value);
    style.unicode = locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos ||
                    locale.find("UTF8") != locale.npos || (!terminal && locale == "C");
    break;
  }
  return style;
}

Result<AuditInput> open_input(const Asked& asked, const ModelSource& source) {
  AuditInput input;
  HIERON_TRY(input.suspect, open_ref(asked.suspect, source));
  for (const std::string& parent : asked.parents) {
    HIERON_TRY(auto model, open_ref(parent, source));
    input.parents.push_back(std::move(model));
  }
  if (!asked.base.empty()) {
    HIERON_TRY(input.base, open_ref(asked.base, source));
  }
  for (const std::string& control : asked.controls) {
    HIERON_TRY(auto model, open_ref(control, source));
    input.controls.push_back(std::move(model));
  }
  return input;
}

Status write_reports(const Asked& asked, const AuditResult& result,
                     std::vector<WrittenFile>& written) {
  if (!asked.html.empty()) {
    HIERON_CHECK(write_text(asked.html, audit_html(result)));
    written.push_back({"page", asked.html});
  }
  if (!asked.recipe.empty()) {
    if (result.recipe) {
      HIERON_CHECK(write_text(asked.recipe, result.recipe->yaml));
      written.push_back({"recipe", asked.recipe});
    } else {
      fmt::print(stderr, "hieron: no recipe was found, so {} is not written\n", asked.recipe);
    }
  }
  return {};
}

// No report replaces an input, or another report.
Status check_outputs(const Asked& asked, const Context& context, const AuditInput& input,
                     const std::shared_ptr<const Checkpoint>& also,
                     const std::vector<PoolEntry>& pool) {
  std::vector<std::string> outputs;
  for (const std::string& path : {asked.html, asked.recipe, context.options.json}) {
    if (path.empty() || path == "-") continue;
    if (std::ranges::find(outputs, path) != outputs.end()) {
      return usage_error(fmt::format("{}: two outputs have the same path.", printable(path)));
    }
    outputs.push_back(path);
  }
  std::vector<std::shared_ptr<const Checkpoint>> models = input.parents;
  models.insert(models.end(), input.controls.begin(), input.controls.end());
  models.push_back(input.suspect);
  if (input.base) models.push_back(input.base);
  if (also) models.push_back(also);
  for (const PoolEntry& entry : pool) {
    if (entry.checkpoint) models.push_back(entry.checkpoint);
  }
  for (const auto& model : models) {
    for (const CheckpointFile& file : model->files) {
      for (const std::string& output : outputs) {
        std::error_code absent;
        if (std::filesystem::equivalent(output, file.file->name(), absent)) {
          return usage_error(fmt::format("{}: is an input of this audit and is not overwritten.",
                                         printable(output)));
        }
      }
    }
  }
  return {};
}

// Those of the pool that an audit should look at, added to its input.
Result<std::optional<PoolReport>> choose(const Asked& asked, const Context& context,
                                         AuditOptions options, const std::vector<PoolEntry>& pool,
                                         AuditInput& input) {
  HIERON_TRY(PoolReport report, [&] {
    ProgressBar progress(context.options, "choosing");
    options.walk = stage(context, progress, options);
    return choose_from_pool(pool, input, options);
  }());
  if (!input.parents.empty()) return report;
  const auto why = std::ranges::find_if(
      report.members, [](const PoolMember& m) { return m.reason != "the suspect itself"; });
  return refuse(fmt::format("{}: none of its {} checkpoints can be a parent of {} ({}).",
                            printable(asked.pool), report.members.size(), printable(asked.suspect),
                            why == report.members.end()
                                ? std::string("only the suspect is there")
                                : fmt::format("{}: {}", printable(why->ref), why->reason)),
                asked.pool);
}

Outcome run_audit(const Asked& asked, const Context& context) {
  HIERON_TRY(const std::vector<VerdictKind> expected, parse_expected(asked.expect));
  AuditOptions options;
  HIERON_TRY(options.sample_bytes, parse_sample(asked.sample));
  if (asked.seeds != "popular" && asked.seeds != "full") {
    return usage_error(
        fmt::format("--seed-search: \"{}\" is neither popular nor full.", printable(asked.seeds)));
  }
  options.seeds = asked.seeds == "full" ? Seeds::kAll : Seeds::kPopular;
  if (asked.parents.empty() && asked.pool.empty()) {
    return usage_error(
        "audit needs at least one --parent: the model the suspect may have been made of (or a "
        "--pool of models to choose from).");
  }
  if (!asked.also.empty() && !asked.evidence.path.empty()) {
    return usage_error("--also and --evidence: a pack holds one audit; make one for each upload.");
  }
  HIERON_TRY(const std::vector<std::string> pool_refs, list_pool(asked.pool));
  if (context.options.seed) options.seed = *context.options.seed;
  options.hash = context.options.hash;
  HIERON_TRY(const ModelSource source,
             model_source(context, asked.sample == "full" ? Access::kWhole : Access::kSampled));
  HIERON_TRY(AuditInput input, open_input(asked, source));
  std::shared_ptr<const Checkpoint> also;
  if (!asked.also.empty()) {
    HIERON_TRY(also, open_ref(asked.also, source));
  }
  std::vector<PoolEntry> pool = open_pool(pool_refs, source);
  HIERON_CHECK(check_outputs(asked, context, input, also, pool));
  if (asked.sample == "auto" && any_far(input, also, pool)) {
    options.sample_bytes = kFirstSample;
    options.more_bytes = kMoreSample;
  }
  HIERON_TRY(const std::unique_ptr<Recorder> recorder,
             begin_evidence(asked.evidence, asked.sample, options));
  if (recorder) {
    HIERON_CHECK(record_evidence(*recorder, asked.evidence, input,
                                 asked.pool.empty() ? nullptr : &pool, options));
  }
  std::optional<PoolReport> report;
  if (!asked.pool.empty()) {
    HIERON_TRY(report, choose(asked, context, options, pool, input));
  }
  HIERON_TRY(AuditResult result, [&] {
    ProgressBar progress(context.options, "comparing");
    options.walk = stage(context, progress, options);
    return audit(input, options);
  }());
  if (hub_requests(context) > 0) result.sampling.requests = hub_requests(context);
  if (also) {
    HIERON_TRY(result.also, [&] {
      ProgressBar progress(context.options, "comparing uploads");
      options.walk = stage(context, progress, options);
      return compare_uploads(input, also, options, result);
    }());
  }
  if (report) add_pool(result, *std::move(report));
  std::vector<WrittenFile> written;
  HIERON_CHECK(write_reports(asked, result, written));
  if (recorder) {
    options.walk.progress = nullptr;
    HIERON_TRY(const WrittenPack pack, recorder->write(options, result));
    for (const std::string& warning : pack.warnings) {
      fmt::print(stderr, "hieron: {}\n", warning);
    }
    written.push_back({"evidence", asked.evidence.path});
  }
  if (!context.options.json.empty() && context.options.json != "-") {
    written.push_back({"json", context.options.json});
  }
  // What nobody reads is not written out: 140,000 tensors are many lines.
  const bool shows = !context.options.quiet && context.options.json != "-";
  HIERON_CHECK(deliver(context.options,
                       shows ? audit_text(result, style_of_terminal(), written) : "",
                       context.options.json.empty() ? "" : audit_json(result)));
  const bool held =
      expected.empty() || std::ranges::find(expected, result.verdict.kind) != expected.end();
  return held ? 0 : 1;
}

}  // namespace

void add_audit(CLI::App& app, Context& context) {
  auto asked = std::make_shared<Asked>();
  CLI::App* command =
      add_command(app, context, "audit", "what was this checkpoint made of?", kExample);
  command->add_option("SUSPECT", asked->suspect, "the checkpoint in question")->required();
  command->add_option("--parent", asked->parents, "a suspected parent; repeat")
      ->allow_extra_args(false);
  command->add_option(
      "--base", asked->base,
      "the common ancestor, if known; with one --parent, the other end of the blend");
  command
      ->add_option("--control", asked->controls,
                   "another model of the same family that took no part; repeat")
      ->allow_extra_args(false);
  command->add_option("--pool", asked->pool,
                      "a folder of checkpoints (or a file with a REF a line): which of them are "
                      "the parents? Alone or with --parent");
  command->add_option("--also", asked->also,
                      "a second upload of the same model: what changed, and is it training?");
  command->add_option(
      "--sample", asked->sample,
      "auto (local files: everything; a hub: 16KiB, or 64KiB where that decides nothing), "
      "full, or bytes per tensor and model");
  command->add_option("--seed-search", asked->seeds,
                      "of random masks: popular seeds, or full (all 2^32; minutes)");
  command->add_option("--expect", asked->expect, "verdicts, comma-separated: exit 1 on any other");
  command->add_option("--html", asked->html, "write the report as one self-contained page");
  command->add_option("--recipe", asked->recipe, "write the recipe found, as mergekit YAML");
  add_evidence_options(*command, asked->evidence);
  on_run(*command, context, [asked, &context] { return run_audit(*asked, context); });
}

}  // namespace hieron
