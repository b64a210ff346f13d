// Checkpoints of a hub: the same table of tensors, over files that may lie far away.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "hieron/core/text.h"
#include "hieron/hub/hub.h"
#include "hieron/walk/assemble.h"
#include "hieron/walk/opening.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

// How long headers are is known only when they have been read. What is guessed too short costs a
// second request, what is guessed too long some bytes.
constexpr uint64_t kLikelyHeader = 128u << 10;  // bytes, where nothing is known
constexpr uint64_t kHeaderFrame = 1024;         // length, metadata, padding
constexpr uint64_t kEntryWithoutName = 100;  // "":{"dtype":"BF16","shape":[…],"data_offsets":[…]},

struct Weights {
  std::vector<std::string> files;
  std::string index;  // in the folder; empty: none
  std::optional<ShardIndex> shards;
};

Result<Weights> weights_of(const HubModel& model, const Hub& hub) {
  std::vector<std::string> names;
  for (const HubFile& file : model.files) {
    if (file.path.find('/') == file.path.npos) names.push_back(file.path);
  }
  auto found = weight_files(std::move(names));
  if (!found) {
    const std::string what =
        hub.offline() ? "the cache holds no .safetensors file of it; fetch it once while online"
                      : "it holds no .safetensors file; give another model or revision";
    return system_error(fmt::format("{} (revision {}): {}.", model.reference.repo,
                                    printable(model.reference.revision_or_main()), what),
                        model.reference.repo);
  }
  Weights weights{.files = std::move(found->files), .index = std::move(found->index), .shards = {}};
  if (weights.index.empty()) return weights;
  HIERON_TRY(weights.shards, read_index((fs::path(model.folder) / weights.index).string()));
  weights.files = weights.shards->shards;
  return weights;
}

bool all_in_cache(const HubModel& model, const Weights& weights) {
  return std::ranges::all_of(weights.files,
                             [&](const std::string& file) { return model.find(file); });
}

// A commit never changes: if the cache has all of it, nobody is asked.
std::optional<HubModel> complete_in_cache(const HubReference& reference, const Hub& hub) {
  if (!is_commit(reference.revision)) return {};
  auto model = hub.cached(reference);
  if (!model || !model->find("config.json")) return {};
  const auto weights = weights_of(*model, hub);
  return weights && all_in_cache(*model, *weights) ? std::move(model) : std::nullopt;
}

uint64_t likely_header(const Weights& weights, const std::string& file) {
  if (!weights.shards) return kLikelyHeader;
  uint64_t bytes = kHeaderFrame;
  for (const auto& [tensor, shard] : weights.shards->weight_map) {
    if (shard == file) bytes += tensor.size() + kEntryWithoutName;
  }
  return bytes;
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_on_hub(const std::string& ref,
                                                      const HubReference& reference, Hub& hub,
                                                      Access access) {
  std::optional<HubModel> model = complete_in_cache(reference, hub);
  if (!model) {
    HIERON_TRY(model, hub.open(reference, access));
  }
  HIERON_TRY(Weights weights, weights_of(*model, hub));
  if (access == Access::kWhole) {
    HIERON_CHECK(hub.download(*model, weights.files));
  }
  CheckpointParts parts{.ref = ref,
                        .commit = model->commit,
                        .folder = model->folder,
                        .index_file = weights.index,
                        .warnings = model->warnings};
  for (const std::string& name : weights.files) {
    HIERON_TRY(Hub::Opened opened, hub.open_file(*model, name));
    const Extent header{0, std::min(likely_header(weights, name), opened.file->size())};
    opened.file->will_read({&header, 1});  // all of them are on their way before one is read
    const uint64_t bytes = opened.file->size();
    parts.files.push_back(
        {name, bytes, std::move(opened.file),
         Origin{std::move(opened.url), std::move(opened.etag), std::move(opened.sha256)}});
  }
  return assemble_checkpoint(std::move(parts), std::move(weights.shards));
}

}  // namespace hieron
