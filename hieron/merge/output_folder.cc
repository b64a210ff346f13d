#include "hieron/merge/output_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/format/shard_index.h"
#include "hieron/io/file.h"
#include "hieron/io/output_file.h"
#include "hieron/merge/manifest.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr uint64_t kMaxCompanionBytes = 256u << 20;
constexpr uint64_t kSmallFiles = 64u << 20;  // room left for everything but the shards

// Size and time of every file that the plan reads: what was made from others is not continued.
std::string times_of_inputs(const Plan& plan) {
  Sha256 hash;
  for (const PlannedModel& model : plan.models) {
    for (const CheckpointFile& file : model.checkpoint->files) {
      hash.update(
          fmt::format("{} {} {}\n", file.path, file.bytes, file.file ? file.file->modified() : 0));
    }
  }
  return to_hex(hash.finish());
}

}  // namespace

Result<std::unique_ptr<OutputFolder>> OutputFolder::enter(const Plan& plan, const std::string& out,
                                                          const ExecuteOptions& options) {
  return begin(plan, out, options, Journal::enter);
}

Result<std::unique_ptr<OutputFolder>> OutputFolder::look(const Plan& plan, const std::string& out,
                                                         const ExecuteOptions& options) {
  return begin(plan, out, options, Journal::look);
}

Result<std::unique_ptr<OutputFolder>> OutputFolder::begin(const Plan& plan, const std::string& out,
                                                          const ExecuteOptions& options,
                                                          decltype(Journal::enter)& open) {
  std::unique_ptr<OutputFolder> folder(new OutputFolder(plan, out, options));
  HIERON_CHECK(folder->check_not_an_input());
  HIERON_TRY(folder->journal_,
             open(out, {plan.digest(), times_of_inputs(plan)}, options.overwrite));
  folder->find_finished();
  return folder;
}

uint64_t OutputFolder::bytes_to_come() const {
  uint64_t bytes = 0;
  for (const PlannedShard& shard : plan_.shards) bytes += finished(shard) ? 0 : shard.bytes;
  return bytes > 0 ? bytes + std::min(kSmallFiles, bytes / 100 + (64u << 10)) : 0;
}

Status OutputFolder::open(const PlannedShard& shard, size_t piece_bytes) {
  if (finished(shard)) return {};
  HIERON_TRY(writer_, ShardWriter::create(part(shard), shard.bytes, piece_bytes));
  return writer_->append(std::as_bytes(std::span(shard.header)));
}

Status OutputFolder::close(const PlannedShard& shard) {
  if (const auto done = finished_.find(shard.name); done != finished_.end()) {
    result_.files.push_back(done->second);
    return {};
  }
  HIERON_TRY(std::string hash, writer_->finish());
  writer_.reset();
  result_.bytes_written += shard.bytes;
  result_.files.push_back({shard.name, shard.bytes, std::move(hash)});
  return journal_->add(result_.files.back());
}

Result<MergeResult> OutputFolder::complete() && {
  HIERON_CHECK(write_small_files());
  const std::string index = index_text();
  if (!index.empty()) note(kIndexName, index);
  HIERON_CHECK(write_text(place(kManifestName), manifest_json(plan_, result_.files)));
  HIERON_CHECK(put_shards_in_place());
  if (!index.empty()) HIERON_CHECK(write_text(place(kIndexName), index));
  HIERON_CHECK(journal_->remove());
  return std::move(result_);
}

Status OutputFolder::check_not_an_input() const {
  std::error_code ignored;
  for (const PlannedModel& model : plan_.models) {
    const std::string& folder = model.checkpoint->folder;
    if (folder.empty() || !fs::equivalent(folder, out_, ignored)) continue;
    return refuse(
        fmt::format("{}: the output folder is the folder of \"{}\", an input; give another one.",
                    out_, printable(model.ref)),
        out_);
  }
  return {};
}

// Shards of an interrupted run, with the size they should have.
void OutputFolder::find_finished() {
  std::error_code error;
  for (const PlannedShard& shard : plan_.shards) {
    const auto known = journal_->finished().find(shard.name);
    if (known == journal_->finished().end()) continue;
    const bool there = fs::file_size(part(shard), error) == shard.bytes ||
                       fs::file_size(place(shard.name), error) == shard.bytes;
    if (there && known->second.bytes == shard.bytes) finished_[shard.name] = known->second;
  }
  result_.resumed_shards = finished_.size();
}

void OutputFolder::note(const std::string& name, std::string_view text) {
  result_.files.push_back({name, text.size(), to_hex(sha256(text))});
}

Status OutputFolder::write_small(const std::string& name, std::string_view text) {
  HIERON_CHECK(write_text(place(name), text));
  note(name, text);
  return {};
}

// Is this one of the files that a merged vocabulary brings itself?
bool OutputFolder::replaced(std::string_view name) const {
  if (plan_.tokenizer_files.empty()) return false;
  constexpr std::array<std::string_view, 7> kOthers{"generation_config.json",
                                                    "preprocessor_config.json",
                                                    "processor_config.json",
                                                    "image_processor_config.json",
                                                    "video_preprocessor_config.json",
                                                    "LICENSE",
                                                    "NOTICE"};
  const auto& brought = plan_.tokenizer_files;
  return std::ranges::find(brought, name, &TokenizerFile::name) != brought.end() ||
         std::ranges::find(kOthers, name) == kOthers.end();
}

Status OutputFolder::copy_companions() {
  const std::string& folder = plan_.models[plan_.donor].checkpoint->folder;
  for (const std::string_view name : companion_files()) {
    if (name == "config.json") {
      if (!plan_.config_json.empty()) HIERON_CHECK(write_small("config.json", plan_.config_json));
      continue;
    }
    if (folder.empty() || !options_.copy_tokenizer || replaced(name)) continue;
    const std::string source = folder + "/" + std::string(name);
    std::error_code ignored;
    if (!fs::is_regular_file(source, ignored)) continue;
    HIERON_TRY(const std::string text, read_text(source, kMaxCompanionBytes));
    HIERON_CHECK(write_small(std::string(name), text));
  }
  return {};
}

Status OutputFolder::write_small_files() {
  HIERON_CHECK(copy_companions());
  for (const TokenizerFile& file : plan_.tokenizer_files) {
    HIERON_CHECK(write_small(file.name, file.text));
  }
  HIERON_CHECK(write_small("mergekit_config.yml", plan_.recipe.text));
  return write_small("README.md", model_card(plan_));
}

Status OutputFolder::put_shards_in_place() {
  for (const PlannedShard& shard : plan_.shards) {
    std::error_code error;
    if (!fs::exists(part(shard), error)) continue;  // an interrupted run had come as far as this
    fs::rename(part(shard), place(shard.name), error);
    if (error) {
      return system_error(
          fmt::format("{}: cannot be put in place ({}).", place(shard.name), error.message()),
          place(shard.name));
    }
  }
  return {};
}

std::string OutputFolder::index_text() const {
  if (plan_.shards.size() == 1) return {};
  std::vector<std::pair<std::string, std::string>> weight_map;
  uint64_t total = 0;
  for (const PlannedTensor& tensor : plan_.tensors) {
    weight_map.emplace_back(tensor.name, plan_.shards[tensor.shard].name);
    total += tensor.bytes();
  }
  return write_shard_index(weight_map, total);
}

}  // namespace hieron
