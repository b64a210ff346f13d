#include "hieron/merge/recipe_models.h"

#include <fmt/format.h>

#include <filesystem>

#include "hieron/core/text.h"
#include "hieron/hub/hub.h"
#include "hieron/merge/adapter.h"

namespace hieron {

namespace fs = std::filesystem;

namespace {

constexpr const char* kAdapterWeights = "adapter_model.safetensors";

// As the hub's names are written.
std::string with_revision(const std::string& path, const std::string& revision) {
  return revision.empty() ? path : fmt::format("{}@{}", path, revision);
}

}  // namespace

// An existing path wins: as it stands, then without @revision and +adapter.
Result<uint32_t> RecipeModels::open(const ModelRef& ref) {
  if (ref.document) return open_document(ref);
  const std::string whole = locate({ref.text});
  const bool adapted = whole.empty() && !ref.adapter.empty();
  const std::string path =
      !whole.empty() ? whole : locate({fmt::format("{}@{}", ref.path, ref.revision), ref.path});
  if (path.empty() && !ref.revision.empty() && !source_.hub) {
    return system_error(fmt::format("{}, line {}: the model \"{}\" is not here; download it and "
                                    "give the folder.",
                                    file_, ref.line, printable(ref.text)),
                        ref.text);
  }
  const std::string opened = path.empty() ? with_revision(ref.path, ref.revision) : path;
  std::error_code ignored;
  const fs::path canonical = fs::weakly_canonical(opened, ignored);
  std::string key = path.empty() || canonical.empty() ? opened : canonical.string();
  if (adapted) key += fmt::format("+{}@{}", ref.adapter, ref.adapter_revision);
  const auto [it, fresh] = opened_.try_emplace(key, static_cast<uint32_t>(models_.size()));
  if (!fresh) return it->second;
  auto checkpoint = open_once(ref, opened, key);
  if (!checkpoint) {
    opened_.erase(it);
    Error error = checkpoint.error();
    error.sentence = fmt::format("{}, line {}: {}", file_, ref.line, error.sentence);
    return std::unexpected(std::move(error));
  }
  models_.push_back({ref.text, *std::move(checkpoint)});
  return it->second;
}

Result<std::shared_ptr<const Checkpoint>> RecipeModels::open_once(const ModelRef& ref,
                                                                  const std::string& path,
                                                                  const std::string& key) const {
  if (!shared_) return open_files(ref, path);
  // Under each arithmetic an adapted model is another one.
  auto& known = (*shared_)[fmt::format("{}:{}", static_cast<int>(adapters_), key)];
  if (!known) {
    HIERON_TRY(known, open_files(ref, path));
  }
  return known;
}

Result<std::shared_ptr<const Checkpoint>> RecipeModels::open_files(const ModelRef& ref,
                                                                   const std::string& path) const {
  if (is_adapter(path)) {
    return refuse(fmt::format("\"{}\" is a LoRA adapter, not a model; write the model that it was "
                              "trained on before it: `model: base+{}`.",
                              printable(ref.path), printable(ref.path)),
                  path);
  }
  HIERON_TRY(std::shared_ptr<const Checkpoint> base, open_checkpoint(path, source_));
  if (ref.adapter.empty() || path == locate({ref.text})) return base;
  HIERON_TRY(const std::string adapter, adapter_folder(ref));
  return with_adapter(base, adapter, adapters_);
}

Result<std::string> RecipeModels::adapter_folder(const ModelRef& ref) const {
  const std::string here =
      locate({fmt::format("{}@{}", ref.adapter, ref.adapter_revision), ref.adapter});
  if (!here.empty()) return here;
  const auto on_hub = parse_hub_reference(with_revision(ref.adapter, ref.adapter_revision));
  if (!source_.hub || !on_hub) return ref.adapter;
  HIERON_TRY(const HubModel model, source_.hub->open(*on_hub, Access::kHeaders));
  HIERON_CHECK(source_.hub->download(model, {kAdapterWeights}));
  return model.folder;
}

Result<uint32_t> RecipeModels::open_document(const ModelRef& ref) {
  const auto found = documents_.find(ref.path);
  if (found == documents_.end() || !ref.adapter.empty()) {
    return refuse(
        fmt::format("{}, line {}: \"{}\" is another document of this file{}.", file_, ref.line,
                    printable(ref.text),
                    found == documents_.end() ? ", which has not been made"
                                              : "; write it to a folder first to add an adapter"),
        file_, {}, static_cast<uint64_t>(ref.line));
  }
  // No path has two colons at its end.
  const auto [it, fresh] =
      opened_.try_emplace(ref.path + "::", static_cast<uint32_t>(models_.size()));
  if (fresh) models_.push_back({ref.path, found->second});
  return it->second;
}

// The first that exists: from the recipe's folder, then from here.
std::string RecipeModels::locate(std::initializer_list<std::string_view> candidates) const {
  std::error_code ignored;
  const fs::path folder = fs::path(file_).parent_path();
  for (const std::string_view text : candidates) {
    if (text.empty()) continue;
    if (fs::path(text).is_relative() && fs::exists(folder / text, ignored))
      return (folder / text).string();
    if (fs::exists(text, ignored)) return std::string(text);
  }
  return {};
}

}  // namespace hieron
