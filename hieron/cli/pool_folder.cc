#include "hieron/cli/pool_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/merge/computed.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = 1u << 20;  // of a list

bool holds_weights(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")) return true;
  }
  return false;
}

// A folder of single files is a pool; one with a config or an index beside them is a model.
bool is_one_model(const fs::path& folder) {
  std::error_code ignored;
  return holds_weights(folder) && (fs::exists(folder / "config.json", ignored) ||
                                   fs::exists(folder / "model.safetensors.index.json", ignored));
}

std::vector<std::string> in_folder(const fs::path& folder) {
  std::vector<std::string> refs;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool model =
        entry.is_directory(ignored) ? holds_weights(entry.path()) : name.ends_with(".safetensors");
    if (model && !name.starts_with('.')) refs.push_back(entry.path().string());
  }
  std::ranges::sort(refs);
  return refs;
}

// As they stand, or from where the list lies.
std::vector<std::string> in_list(const fs::path& list, std::string_view text) {
  std::vector<std::string> refs;
  std::error_code ignored;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) {
      line.remove_suffix(1);
    }
    begin = end + 1;
    if (line.empty() || line.starts_with('#')) continue;
    const fs::path beside = list.parent_path() / line;
    refs.push_back(!fs::exists(line, ignored) && fs::exists(beside, ignored) ? beside.string()
                                                                             : std::string(line));
  }
  return refs;
}

}  // namespace

Result<std::vector<std::string>> list_pool(const std::string& path) {
  if (path.empty()) return std::vector<std::string>();
  std::error_code ignored;
  std::vector<std::string> refs;
  if (fs::is_directory(path, ignored)) {
    if (is_one_model(path)) {
      return usage_error(
          fmt::format("--pool: {} is one checkpoint, not a folder of them; give it as --parent.",
                      printable(path)));
    }
    refs = in_folder(path);
  } else if (fs::is_regular_file(path, ignored)) {
    const auto text = read_text(path, kMostBytes);
    if (!text || !valid_utf8(*text) || path.ends_with(".safetensors")) {
      return usage_error(fmt::format(
          "--pool: {} is no list of checkpoints; give a folder of them, or a text file with one "
          "a line.",
          printable(path)));
    }
    refs = in_list(path, *text);
  } else {
    return usage_error(fmt::format("--pool: there is no folder or file {}.", printable(path)));
  }
  if (refs.empty()) {
    return usage_error(fmt::format(
        "--pool: {} holds no checkpoints; give a folder with a folder (or .safetensors file) for "
        "each, or a file with a path a line.",
        printable(path)));
  }
  if (refs.size() > kMostOfPool) {
    return usage_error(
        fmt::format("--pool: {} names {} checkpoints, and at most {} are looked at; "
                    "give a list of the likely ones.",
                    printable(path), refs.size(), kMostOfPool));
  }
  return refs;
}

std::vector<PoolEntry> open_pool(const std::vector<std::string>& refs, const ModelSource& source) {
  std::vector<PoolEntry> entries;
  for (const std::string& ref : refs) {
    auto opened = open_ref(ref, source);
    if (opened) {
      entries.push_back({.ref = ref, .checkpoint = *std::move(opened), .unreadable = {}});
    } else {
      entries.push_back({.ref = ref, .checkpoint = nullptr, .unreadable = opened.error().sentence});
    }
  }
  return entries;
}

}  // namespace hieron
