#include "hieron/model/tells.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "hieron/core/text.h"
#include "hieron/io/file.h"

namespace hieron {

namespace {

constexpr uint64_t kSmallFile = 1 << 20;  // a card or recipe longer than this is not read

constexpr std::string_view kStrong = "strong hint";
constexpr std::string_view kHint = "hint";
constexpr std::string_view kWeak = "weak hint";

// Files whose presence says something.
struct FileTell {
  std::string_view file, id, sentence, weight;
};

constexpr FileTell kFiles[] = {
    {"mergekit_config.yml", "mergekit-config-file",
     "mergekit_config.yml lies in the folder: mergekit writes it beside what it merged", kStrong},
    {"hieron.json", "hieron-manifest",
     "hieron.json lies in the folder: hieron writes it beside what it merged (`hieron verify` "
     "checks it)",
     kStrong},
    {"adapter_config.json", "adapter-config-file",
     "adapter_config.json lies in the folder: an adapter was trained, perhaps merged in", kHint},
    {"trainer_state.json", "trainer-state-file",
     "trainer_state.json lies in the folder: transformers writes it while training", kWeak},
};

// Keys of the index's and the headers' metadata.
constexpr FileTell kMetadata[] = {
    {"mergekit_version", "mergekit-index-version", "the index says mergekit_version {}", kStrong},
    {"sd_merge_recipe", "merge-recipe-metadata", "a header holds a merge recipe: {}", kStrong},
    {"sd_merge_models", "merge-models-metadata", "a header lists merged models: {}", kStrong},
    {"modelspec.merged_from", "modelspec-merged-from", "a header says it was merged from {}",
     kStrong},
};

void add(std::vector<Tell>& found, std::string_view id, std::string sentence,
         std::string_view weight) {
  found.push_back({std::string(id), std::move(sentence), std::string(weight)});
}

bool holds(const std::string& folder, std::string_view file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(std::filesystem::path(folder) / file, ignored);
}

void look_at_files(const std::string& folder, std::vector<Tell>& found) {
  for (const FileTell& tell : kFiles) {
    if (holds(folder, tell.file)) add(found, tell.id, std::string(tell.sentence), tell.weight);
  }
}

void look_at_card(const std::string& folder, std::vector<Tell>& found) {
  if (!holds(folder, "README.md")) return;
  const auto card = read_text((std::filesystem::path(folder) / "README.md").string(), kSmallFile);
  if (!card) return;  // a card that cannot be read says nothing
  std::string lower = *card;
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  if (const size_t at = lower.find("mergekit"); at != lower.npos) {
    const auto line =
        1 + std::count(lower.begin(), lower.begin() + static_cast<ptrdiff_t>(at), '\n');
    add(found, "mergekit-card", fmt::format("README.md mentions mergekit (line {})", line), kHint);
  }
  if (lower.find("\nbase_model_relation: merge") != lower.npos) {
    add(found, "card-relation-merge", "README.md declares base_model_relation: merge", kHint);
  }
}

void look_at_metadata(const std::map<std::string, std::string>& metadata,
                      std::vector<Tell>& found) {
  for (const FileTell& tell : kMetadata) {
    const auto it = metadata.find(std::string(tell.file));
    if (it == metadata.end() || it->second.empty()) continue;
    add(found, tell.id, fmt::format(fmt::runtime(tell.sentence), printable(it->second)),
        tell.weight);
  }
}

// transformers notes where a model was loaded from. Many honest fine-tunes carry it too.
void look_at_config(const std::string& config_json, std::vector<Tell>& found) {
  using nlohmann::json;
  const json config = json::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return;
  const auto it = config.find("_name_or_path");
  if (it == config.end() || !it->is_string()) return;
  const auto path = it->get<std::string>();
  if (path.empty() || path == "." || path == "./") return;
  add(found, "config-name-or-path",
      fmt::format("config.json says it was loaded from \"{}\"", printable(path)), kWeak);
}

}  // namespace

std::vector<Tell> tells(const std::string& folder,
                        const std::map<std::string, std::string>& metadata,
                        const std::string& config_json) {
  std::vector<Tell> found;
  if (!folder.empty()) {
    look_at_files(folder, found);
    look_at_card(folder, found);
  }
  look_at_metadata(metadata, found);
  look_at_config(config_json, found);
  return found;
}

}  // namespace hieron
