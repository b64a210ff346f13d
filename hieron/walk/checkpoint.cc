#include "hieron/walk/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <functional>
#include <set>
#include <system_error>

#include "hieron/core/text.h"
#include "hieron/format/safetensors.h"
#include "hieron/format/shard_index.h"
#include "hieron/hub/reference.h"
#include "hieron/walk/assemble.h"
#include "hieron/walk/fingerprint.h"
#include "hieron/walk/opening.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexBytes = 256u << 20;
constexpr uint64_t kMaxConfigBytes = 16u << 20;
constexpr std::string_view kIndexSuffix = ".safetensors.index.json";

// What a reference stands for on disk.
struct Located {
  fs::path folder;
  WeightFiles weights;
};

uint32_t hash_of(std::string_view name) {
  return static_cast<uint32_t>(std::hash<std::string_view>()(name));
}

bool is_regular(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Result<Located> locate_in_folder(const fs::path& folder, const std::string& ref) {
  std::error_code failed;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    names.push_back(entry.path().filename().string());
  }
  if (failed) {
    return system_error(fmt::format("{}: cannot list the folder ({}); check its permissions.", ref,
                                    failed.message()),
                        ref);
  }
  std::erase_if(names, [&](const std::string& name) {
    return name == kStandardIndex && !is_regular(folder / name);
  });
  std::erase_if(names, [&](const std::string& name) {
    return name == kStandardFile && !is_regular(folder / name);
  });
  if (auto found = weight_files(std::move(names))) return Located{folder, *std::move(found)};
  return refuse(fmt::format("{}: the folder holds no .safetensors file; give the folder of a "
                            "checkpoint, a .safetensors file, or its index.",
                            ref),
                ref);
}

Result<Located> locate(const std::string& ref) {
  std::error_code failed;
  const fs::path path(ref);
  const fs::file_status status = fs::status(path, failed);
  if (failed && status.type() != fs::file_type::not_found) {
    return system_error(fmt::format("{}: cannot be opened ({}).", ref, failed.message()), ref);
  }
  if (!fs::exists(status)) {
    return system_error(
        fmt::format("{}: there is no such file or folder; give a folder, a .safetensors file, an "
                    "index, or a model on the hub as org/name[@revision].",
                    ref),
        ref);
  }
  if (fs::is_directory(status)) return locate_in_folder(path, ref);
  fs::path folder = path.parent_path();
  if (folder.empty()) folder = ".";
  const std::string file = path.filename().string();
  if (file.ends_with(".index.json")) return Located{folder, {{}, file}};
  if (!file.ends_with(".safetensors")) {
    return refuse(fmt::format("{}: not a checkpoint: expected a folder, a .safetensors file or a "
                              "model.safetensors.index.json.",
                              ref),
                  ref);
  }
  return Located{folder, {{file}, {}}};
}

// The index and the headers must agree, both ways.
Status check_index(const Checkpoint& checkpoint, const ShardIndex& index, const std::string& file) {
  const TensorInfo* found = nullptr;
  for (const auto& [tensor, shard] : index.weight_map) {
    found = checkpoint.find_after(found, tensor);
    if (!found) {
      return refuse(fmt::format("{}: the index places tensor \"{}\" in {}, but that shard does not "
                                "hold it; the files do not belong together, fetch them again.",
                                file, printable(tensor), printable(shard)),
                    file, tensor);
    }
    if (checkpoint.files[found->stored.file].path != shard) {
      return refuse(fmt::format("{}: the index places tensor \"{}\" in {}, but it is in {}; fetch "
                                "the index again.",
                                file, printable(tensor), printable(shard),
                                checkpoint.files[found->stored.file].path),
                    file, tensor);
    }
  }
  if (index.weight_map.size() != checkpoint.tensors.size()) {
    std::set<std::string_view> named;
    for (const auto& [tensor, shard] : index.weight_map) named.insert(tensor);
    for (const TensorInfo& tensor : checkpoint.tensors) {
      if (named.contains(tensor.name)) continue;
      return refuse(
          fmt::format("{}: tensor \"{}\" of {} is not in the index; the files do not "
                      "belong together, fetch them again.",
                      file, printable(tensor.name), checkpoint.files[tensor.stored.file].path),
          file, tensor.name);
    }
  }
  return {};
}

}  // namespace

std::optional<WeightFiles> weight_files(std::vector<std::string> names) {
  if (std::ranges::find(names, kStandardIndex) != names.end()) {
    return WeightFiles{{}, std::string(kStandardIndex)};
  }
  if (std::ranges::find(names, kStandardFile) != names.end()) {
    return WeightFiles{{std::string(kStandardFile)}, {}};
  }
  WeightFiles found;
  std::vector<std::string> indexes;
  for (std::string& name : names) {
    if (name.starts_with('.')) continue;
    if (name.ends_with(kIndexSuffix)) indexes.push_back(name);
    if (name.ends_with(".safetensors")) found.files.push_back(std::move(name));
  }
  if (indexes.size() == 1) return WeightFiles{{}, indexes[0]};
  if (found.files.empty()) return {};
  std::ranges::sort(found.files);
  return found;
}

Result<ShardIndex> read_index(const std::string& path) {
  HIERON_TRY(const std::string text, read_text(path, kMaxIndexBytes));
  return parse_shard_index(text, path);
}

namespace {

// Reads the header of the next weight file.
Status add_file(Checkpoint& checkpoint, CheckpointFile source) {
  const auto index = static_cast<uint32_t>(checkpoint.files.size());
  HIERON_TRY(SafetensorsHeader header, read_safetensors_header(*source.file));
  for (StoredTensor& stored : header.tensors) {
    const uint64_t elements = element_count(stored.shape).value_or(0);
    checkpoint.tensors.push_back(TensorInfo{.name = std::move(stored.name),
                                            .dtype = stored.dtype,
                                            .shape = std::move(stored.shape),
                                            .elements = elements,
                                            .stored = {index, stored.offset},
                                            .computed = nullptr});
  }
  checkpoint.metadata.merge(header.metadata);
  for (std::string& warning : header.warnings) checkpoint.warnings.push_back(std::move(warning));
  checkpoint.files.push_back(std::move(source));
  return {};
}

// When all files are there: names, the index against the headers, config.json of the folder.
Status complete(Checkpoint& checkpoint, const ShardIndex* shards, const std::string& index_path) {
  HIERON_CHECK(checkpoint.index());
  if (shards) {
    HIERON_CHECK(check_index(checkpoint, *shards, index_path));
  }
  const fs::path config = fs::path(checkpoint.folder) / "config.json";
  if (is_regular(config)) {
    if (auto text = read_text(config.string(), kMaxConfigBytes)) {
      checkpoint.config_json = *std::move(text);
    } else {
      checkpoint.warnings.push_back(text.error().sentence);
    }
  }
  return {};
}

}  // namespace

size_t Checkpoint::slot_of(std::string_view name, uint32_t hash) const {
  const size_t mask = by_name_.size() - 1;
  size_t slot = hash & mask;
  while (by_name_[slot].number != 0) {
    const Slot& taken = by_name_[slot];
    if (taken.hash == hash && tensors[taken.number - 1].name == name) break;
    slot = (slot + 1) & mask;
  }
  return slot;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  if (by_name_.empty()) return nullptr;
  const uint32_t number = by_name_[slot_of(name, hash_of(name))].number;
  return number == 0 ? nullptr : &tensors[number - 1];
}

const TensorInfo* Checkpoint::find_after(const TensorInfo* last, std::string_view name) const {
  const size_t next = last ? static_cast<size_t>(last - tensors.data()) + 1 : 0;
  if (next < tensors.size() && tensors[next].name == name) return &tensors[next];
  return find(name);
}

uint64_t Checkpoint::weight_bytes() const {
  uint64_t total = 0;
  for (const TensorInfo& tensor : tensors) total += tensor.bytes();
  return total;
}

Status Checkpoint::index() {
  by_name_.assign(std::bit_ceil(tensors.size() * 3 / 2 + 1), {0, 0});
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    const uint32_t hash = hash_of(tensors[i].name);
    Slot& slot = by_name_[slot_of(tensors[i].name, hash)];
    if (slot.number == 0) {
      slot = {hash, i + 1};
      continue;
    }
    const auto file = [&](const TensorInfo& t) {
      return files.empty() ? ref : files[t.stored.file].path;
    };
    return refuse(fmt::format("{}: tensor \"{}\" is in {} and again in {}; which one counts is not "
                              "defined, remove one.",
                              ref, printable(tensors[i].name), file(tensors[slot.number - 1]),
                              file(tensors[i])),
                  ref, tensors[i].name);
  }
  return {};
}

std::shared_ptr<Checkpoint> without_tensors(const Checkpoint& checkpoint) {
  auto shell = std::make_shared<Checkpoint>();
  shell->ref = checkpoint.ref;
  shell->commit = checkpoint.commit;
  shell->folder = checkpoint.folder;
  shell->files = checkpoint.files;
  shell->metadata = checkpoint.metadata;
  shell->warnings = checkpoint.warnings;
  shell->config_json = checkpoint.config_json;
  return shell;
}

Status read_elements(const Checkpoint& checkpoint, const TensorInfo& tensor, uint64_t first,
                     std::span<std::byte> out) {
  if (tensor.computed) return tensor.computed->read(first, out);
  const uint64_t offset = first * static_cast<uint64_t>(info(tensor.dtype).bits) / 8;
  return checkpoint.files[tensor.stored.file].file->read_at(tensor.stored.offset + offset, out);
}

namespace {

std::map<const File*, std::vector<Extent>> extents_of(std::span<const Wanted> wanted) {
  std::map<const File*, std::vector<Extent>> extents;
  for (const Wanted& w : wanted) {
    if (w.tensor->computed) continue;
    const auto bits = static_cast<uint64_t>(info(w.tensor->dtype).bits);
    extents[w.checkpoint->files[w.tensor->stored.file].file.get()].push_back(
        {w.tensor->stored.offset + w.first * bits / 8, w.count * bits / 8});
  }
  for (auto& [file, all] : extents) std::ranges::sort(all, {}, &Extent::offset);
  return extents;
}

}  // namespace

Status will_read(std::span<const Wanted> wanted) {
  const auto extents = extents_of(wanted);
  uint64_t bytes = 0;
  for (const auto& [file, of_file] : extents) bytes += file->far_bytes(of_file);
  for (const auto& [file, of_file] : extents) HIERON_CHECK(file->may_fetch(bytes));
  for (const auto& [file, of_file] : extents) file->will_read(of_file);
  return {};
}

bool is_far(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.files, [](const CheckpointFile& file) {
    const Extent all{0, file.bytes};
    return file.file->far_bytes({&all, 1}) > 0;
  });
}

namespace {

Result<std::shared_ptr<const Checkpoint>> open_here(const std::string& ref) {
  HIERON_TRY(Located located, locate(ref));
  std::optional<ShardIndex> shards;
  if (!located.weights.index.empty()) {
    const std::string index = (located.folder / located.weights.index).string();
    HIERON_TRY(shards, read_index(index));
    located.weights.files = shards->shards;
    for (const std::string& file : located.weights.files) {
      if (is_regular(located.folder / file)) continue;
      return refuse(
          fmt::format("{}: the index names the shard {}, which is not there; the download "
                      "is incomplete, fetch it.",
                      index, printable(file)),
          index);
    }
  }
  CheckpointParts parts{
      .ref = ref, .folder = located.folder.string(), .index_file = located.weights.index};
  for (const std::string& name : located.weights.files) {
    HIERON_TRY(std::shared_ptr<const File> file, open_file((located.folder / name).string()));
    const uint64_t bytes = file->size();
    parts.files.push_back({name, bytes, std::move(file)});
  }
  return assemble_checkpoint(std::move(parts), std::move(shards));
}

bool exists(const std::string& path) {
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  return status.type() != fs::file_type::not_found;
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_checkpoint(const std::string& ref,
                                                          const ModelSource& source) {
  const auto on_hub = source.hub && !exists(ref) ? parse_hub_reference(ref) : std::nullopt;
  return on_hub ? open_on_hub(ref, *on_hub, *source.hub, source.access) : open_here(ref);
}

Result<std::shared_ptr<const Checkpoint>> assemble_checkpoint(CheckpointParts parts,
                                                              std::optional<ShardIndex> shards) {
  const std::string index = (fs::path(parts.folder) / parts.index_file).string();
  if (!shards && !parts.index_file.empty()) {
    HIERON_TRY(shards, read_index(index));
  }
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->ref = std::move(parts.ref);
  checkpoint->commit = std::move(parts.commit);
  checkpoint->folder = std::move(parts.folder);
  checkpoint->warnings = std::move(parts.warnings);
  if (shards) {
    checkpoint->metadata = shards->metadata;
    checkpoint->tensors.reserve(shards->weight_map.size());
  }
  for (CheckpointFile& file : parts.files) HIERON_CHECK(add_file(*checkpoint, std::move(file)));
  HIERON_CHECK(complete(*checkpoint, shards ? &*shards : nullptr, index));
  if (is_fingerprint(*checkpoint)) return read_fingerprint(checkpoint);
  return checkpoint;
}

std::string index_file_of(const Checkpoint& checkpoint) {
  if (checkpoint.folder.empty()) return {};
  const auto located = exists(checkpoint.ref) ? locate(checkpoint.ref)
                                              : locate_in_folder(checkpoint.folder, checkpoint.ref);
  return located ? located->weights.index : std::string();
}

}  // namespace hieron
