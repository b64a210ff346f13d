// What lies in a model's folder, and what the metadata of its headers and its index say.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "hieron/core/text.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

struct FileTell {
  std::string_view file, id, sentence;
};

constexpr FileTell kFiles[] = {
    {"mergekit_config.yml", "mergekit-config-file",
     "mergekit_config.yml lies in the folder: mergekit writes it beside what it merged"},
    {"hieron.json", "hieron-manifest",
     "hieron.json lies in the folder: hieron writes it beside what it merged (`hieron verify` "
     "checks it)"},
    {"trainer_state.json", "trainer-state-file",
     "trainer_state.json lies in the folder: transformers writes it while training"},
};

constexpr FileTell kMetadata[] = {
    {"mergekit_version", "mergekit-index-version", "the index says mergekit_version {}"},
    {"sd_merge_recipe", "merge-recipe-metadata", "a header holds a merge recipe: {}"},
    {"sd_merge_models", "merge-models-metadata", "a header lists merged models: {}"},
    {"modelspec.merged_from", "modelspec-merged-from", "a header says it was merged from {}"},
};

bool holds(const std::string& folder, std::string_view file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(std::filesystem::path(folder) / file, ignored);
}

void look_at_adapter(const std::string& folder, Findings& found) {
  if (!holds(folder, "adapter_config.json")) return;
  std::string sentence =
      "adapter_config.json lies in the folder: an adapter was trained, perhaps merged in";
  if (const auto text = small_text(folder, "adapter_config.json")) {
    const auto config = parse_object(*text);
    const std::string base = config ? text_at(*config, "base_model_name_or_path") : "";
    if (!base.empty()) sentence += fmt::format("; it names \"{}\" as its base", printable(base));
  }
  found.add("adapter-config-file", std::move(sentence));
}

}  // namespace

void look_at_files(const SmallFiles& files, Findings& found) {
  if (files.model.folder.empty()) return;
  for (const FileTell& tell : kFiles) {
    if (holds(files.model.folder, tell.file)) found.add(tell.id, std::string(tell.sentence));
  }
  look_at_adapter(files.model.folder, found);
}

void look_at_metadata(const SmallFiles& files, Findings& found) {
  for (const FileTell& tell : kMetadata) {
    const auto it = files.model.metadata.find(std::string(tell.file));
    if (it == files.model.metadata.end() || it->second.empty()) continue;
    found.add(tell.id, fmt::format(fmt::runtime(tell.sentence), printable(it->second)));
  }
}

}  // namespace hieron
