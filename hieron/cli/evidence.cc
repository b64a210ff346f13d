#include "hieron/cli/evidence.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "hieron/cli/hub_session.h"
#include "hieron/cli/progress.h"
#include "hieron/core/text.h"
#include "hieron/hub/reference.h"
#include "hieron/merge/computed.h"
#include "hieron/pack/decide.h"
#include "hieron/pack/verify.h"

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

uint64_t weight_bytes(const AuditInput& input, const std::vector<PoolEntry>* pool) {
  uint64_t bytes = input.suspect->weight_bytes();
  for (const auto& model : input.parents) bytes += model->weight_bytes();
  if (input.base) bytes += input.base->weight_bytes();
  for (const auto& model : input.controls) bytes += model->weight_bytes();
  if (!pool) return bytes;
  for (const PoolEntry& entry : *pool) {
    if (entry.checkpoint) bytes += entry.checkpoint->weight_bytes();
  }
  return bytes;
}

Result<uint64_t> most_bytes(const AskedEvidence& asked) {
  return asked.most.empty() ? Result<uint64_t>(kMostPack) : parse_size(asked.most);
}

// ---- the originals of a pack

// A hub's model at the commit that the pack names; empty: it is none.
std::string hub_ref(const PackedModel& model) {
  const auto reference = parse_hub_reference(model.ref);
  if (model.commit.empty() || !reference) return {};
  return fmt::format("hf://{}@{}", reference->repo, model.commit);
}

// The checkpoints of --against, by the name of the model in the pack; with `from_hub` also the
// models of a hub.
class Originals {
 public:
  static Result<Originals> open(const std::vector<std::string>& against, ModelSource source,
                                bool from_hub) {
    Originals originals;
    originals.source_ = std::move(source);
    originals.from_hub_ = from_hub;
    for (const std::string& text : against) {
      const size_t equals = text.find('=');
      if (equals == 0 || equals == text.npos || equals + 1 == text.size()) {
        return usage_error(
            fmt::format("--against: \"{}\" is not NAME=REF, such as suspect=folder/of/suspect; the "
                        "report lists "
                        "the names.",
                        printable(text)));
      }
      HIERON_TRY(auto model, open_ref(text.substr(equals + 1), originals.source_));
      originals.models_[text.substr(0, equals)] = std::move(model);
    }
    return originals;
  }

  Result<std::shared_ptr<const File>> find(const PackedModel& model, const PackedWeights& file) {
    auto found = models_.find(model.ref);
    if (found == models_.end()) {
      const std::string ref = from_hub_ ? hub_ref(model) : std::string();
      if (ref.empty()) return nullptr;
      HIERON_TRY(auto opened, open_ref(ref, source_));
      found = models_.emplace(model.ref, std::move(opened)).first;
    }
    used_.insert(model.ref);
    const auto& files = found->second->files;
    const auto same = std::ranges::find(files, file.path, &CheckpointFile::path);
    if (same != files.end()) return same->file;
    return refuse(
        fmt::format("{}: has no file {}, which the pack has of {}; name the same model.",
                    printable(found->second->ref), printable(file.path), printable(model.ref)),
        found->second->ref);
  }

  Status check_used() const {
    for (const auto& [name, model] : models_) {
      if (used_.contains(name)) continue;
      return usage_error(
          fmt::format("--against: the pack has no model \"{}\"; its report lists "
                      "the names.",
                      printable(name)));
    }
    return {};
  }

 private:
  std::map<std::string, std::shared_ptr<const Checkpoint>> models_;
  std::set<std::string> used_;
  ModelSource source_;
  bool from_hub_ = false;
};

Result<uint64_t> blocks_to_fetch(const std::string& text) {
  if (text == "auto" || text == "all") return UINT64_MAX;
  uint64_t blocks = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), blocks);
  if (failed != std::errc() || end != text.data() + text.size() || blocks == 0) {
    return usage_error(
        fmt::format("--refetch: \"{}\" is neither a number of blocks nor all.", printable(text)));
  }
  return blocks;
}

// ---- the answer

std::string answer_text(const AskedCheck& asked, const PackCheck& check) {
  std::string text;
  if (check.holds()) {
    text = fmt::format("yes: the verdict follows from {}: {}\n", printable(asked.pack),
                       name(check.result->verdict.kind));
    text += printable(check.result->verdict.sentence, 2000) + "\n";
  } else {
    text =
        fmt::format("no: {} {}\n", printable(asked.pack),
                    !check.changed.empty()       ? "was changed"
                    : !check.differences.empty() ? "does not give the verdict that its report has"
                                                 : "differs from the originals");
  }
  for (const auto* sentences : {&check.changed, &check.differences, &check.elsewhere}) {
    for (const std::string& sentence : *sentences) text += "  " + sentence + "\n";
  }
  if (check.blocks > 0 && check.changed.empty()) {
    text += fmt::format("checked: {} blocks ({}) of {} models, each with its SHA-256\n",
                        with_commas(check.blocks), show_bytes(check.bytes), check.models);
  }
  if (check.result) text += "decided again from those bytes alone, by hieron " HIERON_VERSION "\n";
  if (check.refetched) {
    text += fmt::format("compared with the originals: {} blocks ({}), {} equal; {} have none\n",
                        with_commas(check.refetched->blocks), show_bytes(check.refetched->bytes),
                        with_commas(check.refetched->equal),
                        with_commas(check.refetched->without_original));
  } else if (check.holds()) {
    text += "not compared with the originals: whether the models have these bytes, ask --against\n";
  }
  text += fmt::format("this pack: evidence.json has SHA-256 {}\n", check.sha256);
  return text;
}

Json answer_json(const AskedCheck& asked, const PackCheck& check) {
  Json verdict, refetched;
  if (check.result) {
    verdict = {{"kind", name(check.result->verdict.kind)},
               {"sentence", check.result->verdict.sentence}};
  }
  if (check.refetched) {
    refetched = {{"blocks", check.refetched->blocks},
                 {"equal", check.refetched->equal},
                 {"bytes", check.refetched->bytes},
                 {"without_original", check.refetched->without_original}};
  }
  return {{"schema", "hieron.verify/1"},  {"kind", "evidence"},
          {"what", asked.pack},           {"equal", check.holds()},
          {"sha256", check.sha256},       {"made_by", check.version},
          {"models", check.models},       {"blocks", check.blocks},
          {"bytes", check.bytes},         {"verdict", std::move(verdict)},
          {"changed", check.changed},     {"differences", check.differences},
          {"elsewhere", check.elsewhere}, {"refetched", std::move(refetched)}};
}

}  // namespace

void add_evidence_options(CLI::App& command, AskedEvidence& asked) {
  command
      .add_option("--evidence", asked.path,
                  "write what the audit read, so that others can decide again: a folder, or one "
                  "file if it ends in .tar")
      ->type_name("DIR");
  command.add_option("--max-evidence", asked.most, "most bytes of weights in it (default 1GB)")
      ->type_name("SIZE");
  command.add_flag("--overwrite", asked.overwrite, "replace the evidence pack that is there");
}

Result<std::unique_ptr<Recorder>> begin_evidence(const AskedEvidence& asked,
                                                 const std::string& sample, AuditOptions& options) {
  if (asked.path.empty()) return nullptr;
  if (sample == "auto" && options.sample_bytes == 0) options.sample_bytes = kPackSample;
  HIERON_TRY(const uint64_t most, most_bytes(asked));
  return Recorder::begin({asked.path, asked.overwrite, most});
}

Status record_evidence(Recorder& recorder, const AskedEvidence& asked, AuditInput& input,
                       std::vector<PoolEntry>* pool, AuditOptions& options) {
  HIERON_TRY(const uint64_t most, most_bytes(asked));
  const uint64_t all = weight_bytes(input, pool);
  if (options.sample_bytes == 0 && all > most) {
    return refuse(fmt::format("--evidence with --sample full would hold {} of weights, and at most "
                              "{} are kept; give --sample 64KiB, or --max-evidence {}.",
                              show_bytes(all), show_bytes(most), all),
                  asked.path);
  }
  HIERON_TRY(input, recorder.record(input));
  if (pool) {
    HIERON_TRY(*pool, recorder.record(*pool));
  }
  if (options.hash) HIERON_CHECK(recorder.hash_files(options.walk.threads));
  options.hash = false;
  options.walk.read_bytes = kEvidenceReads;
  return {};
}

void add_evidence_check_options(CLI::App& command, AskedCheck& asked) {
  command
      .add_option("--against", asked.against,
                  "of an evidence pack: compare its blocks with this model's; repeat")
      ->type_name("NAME=REF")
      ->allow_extra_args(false);
  command
      .add_option("--refetch", asked.refetch,
                  "compare so many blocks, drawn at random, or all, also with the hub that models "
                  "came from (default of --against: all)")
      ->type_name("BLOCKS");
}

Outcome verify_evidence(const AskedCheck& asked, const Context& context) {
  HIERON_TRY(const uint64_t blocks, blocks_to_fetch(asked.refetch));
  const bool from_hub = asked.refetch != "auto";
  HIERON_TRY(ModelSource source, model_source(context, Access::kSampled));
  HIERON_TRY(Originals originals, Originals::open(asked.against, std::move(source), from_hub));
  std::optional<Refetch> refetch;
  if (!asked.against.empty() || from_hub) {
    refetch =
        Refetch{.open = [&](const PackedModel& model,
                            const PackedWeights& file) { return originals.find(model, file); },
                .blocks = blocks};
    if (context.options.seed) refetch->seed = *context.options.seed;
  }
  HIERON_TRY(const PackCheck check, [&] {
    ProgressBar bar(context.options, "deciding again");
    return verify_pack(asked.pack, walk_options(context, bar), refetch);
  }());
  if (check.refetched) HIERON_CHECK(originals.check_used());
  HIERON_CHECK(deliver(
      context.options, answer_text(asked, check),
      answer_json(asked, check).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  return check.holds() ? 0 : 1;
}

}  // namespace hieron
