#include "hieron/pack/decide.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "hieron/assay/pool.h"
#include "hieron/core/text.h"
#include "hieron/io/output_file.h"
#include "hieron/pack/packed_file.h"
#include "hieron/walk/assemble.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

Result<std::string> make_folder() {
  std::error_code failed;
  const fs::path all = fs::temp_directory_path(failed);
  std::string pattern = (all / "hieron-evidence-XXXXXX").string();
  if (failed || !::mkdtemp(pattern.data())) {  // for this user alone
    return system_error(fmt::format("{}: no temporary folder can be made there ({}); set TMPDIR to "
                                    "a folder that can be written.",
                                    all.string(), std::strerror(errno)),
                        all.string());
  }
  return pattern;
}

Status write_texts(const PackedModel& model, const File& blocks, const std::string& folder) {
  std::error_code failed;
  if (!fs::create_directory(folder, failed)) {
    return system_error(fmt::format("{}: cannot be made ({}).", folder, failed.message()), folder);
  }
  for (const PackedText& text : model.texts) {
    std::string bytes(text.content.bytes, '\0');
    HIERON_TRY(const bool fits,
               unpack(blocks, text.content, std::as_writable_bytes(std::span(bytes))));
    if (!fits) {
      return refuse(
          fmt::format("{}/{}: its bytes in the pack cannot be read; the pack is damaged, "
                      "get it again.",
                      printable(model.ref), printable(text.path)));
    }
    HIERON_CHECK(write_text((fs::path(folder) / text.path).string(), bytes));
  }
  return {};
}

Result<std::shared_ptr<const Checkpoint>> open_model(const PackedModel& model,
                                                     const std::shared_ptr<const File>& blocks,
                                                     const std::string& folder) {
  HIERON_CHECK(write_texts(model, *blocks, folder));
  CheckpointParts parts{
      .ref = model.ref, .commit = model.commit, .folder = folder, .index_file = model.index_file};
  for (const PackedWeights& file : model.files) {
    parts.files.push_back(
        {file.path, file.bytes,
         std::make_shared<const PackedFile>(file, model.ref + "/" + file.path, blocks),
         file.origin});
  }
  return assemble_checkpoint(std::move(parts));
}

}  // namespace

Result<std::unique_ptr<OpenPack>> OpenPack::open(const Pack& pack,
                                                 const std::shared_ptr<const File>& blocks) {
  std::unique_ptr<OpenPack> opened(new OpenPack(pack));
  HIERON_TRY(opened->folder_, make_folder());
  for (size_t i = 0; i < pack.models.size(); ++i) {
    const std::string folder = fmt::format("{}/{}", opened->folder_, i);
    HIERON_TRY(auto model, open_model(pack.models[i], blocks, folder));
    opened->models_.push_back(std::move(model));
  }
  return opened;
}

OpenPack::~OpenPack() {
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

Result<AuditResult> OpenPack::decide(WalkOptions walk) const {
  walk.read_bytes = kEvidenceReads;
  AuditOptions options{.seed = pack_.seed,
                       .sample_bytes = pack_.sample_bytes,
                       .more_bytes = pack_.more_bytes,
                       .hash = false,
                       .seeds = pack_.seeds,
                       .walk = std::move(walk)};
  AuditInput input;
  input.suspect = models_[pack_.suspect];
  for (const size_t m : pack_.parents) input.parents.push_back(models_[m]);
  if (pack_.base) input.base = models_[*pack_.base];
  for (const size_t m : pack_.controls) input.controls.push_back(models_[m]);
  std::optional<PoolReport> report;
  if (pack_.pool) {
    std::vector<PoolEntry> pool;
    for (const PackedPoolEntry& entry : *pack_.pool) {
      if (entry.model) {
        pool.push_back({models_[*entry.model]->ref, models_[*entry.model], {}});
      } else {
        pool.push_back({entry.ref, nullptr, "it could not be opened when the pack was made"});
      }
    }
    HIERON_TRY(report, choose_from_pool(pool, input, options));
    if (input.parents.empty()) {
      return refuse("none of the pool's checkpoints can be a parent of the suspect");
    }
  }
  HIERON_TRY(AuditResult result, audit(input, options));
  if (report) add_pool(result, *std::move(report));
  result.seconds = 0;
  return result;
}

}  // namespace hieron
