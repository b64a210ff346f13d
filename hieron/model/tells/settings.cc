// Whose config, tokenizer and chat template the suspect has. Fine-tunes and merges inherit them
// alike; what tells is that they equal one model's and not another's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "hieron/core/hash.h"
#include "hieron/core/text.h"
#include "hieron/io/file.h"
#include "hieron/model/tells/looks.h"

namespace hieron {
namespace {

using nlohmann::json;
using Keys = std::map<std::string, std::string>;  // dotted: value as JSON

constexpr size_t kMostKeys = 20'000;

// What a save changes of itself, whatever the model.
constexpr std::string_view kIgnored[] = {
    "_name_or_path", "transformers_version",        "torch_dtype", "dtype", "_commit_hash",
    "use_cache",     "_attn_implementation_autoset"};

void flatten(const json& object, const std::string& prefix, Keys& keys) {
  for (const auto& [key, value] : object.items()) {
    if (keys.size() >= kMostKeys || std::ranges::find(kIgnored, key) != std::end(kIgnored))
      continue;
    if (value.is_object() && !value.empty()) {
      flatten(value, prefix + key + ".", keys);
    } else {
      keys[prefix + key] = value.dump(-1, ' ', false, json::error_handler_t::replace);
    }
  }
}

Keys keys_of(const SmallFiles& files) {
  Keys keys;
  if (files.config) flatten(*files.config, "", keys);
  return keys;
}

std::vector<std::string> differing(const Keys& a, const Keys& b) {
  std::vector<std::string> names;
  for (const auto& [key, value] : a) {
    const auto it = b.find(key);
    if (it == b.end() || it->second != value) names.push_back(key);
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key)) names.push_back(key);
  }
  std::ranges::sort(names);
  return names;
}

std::string listed(const std::vector<std::string>& keys) {
  constexpr size_t kShown = 3;
  std::string text;
  for (size_t i = 0; i < std::min(keys.size(), kShown); ++i) {
    text += (i == 0 ? "" : ", ") + printable(keys[i], 40);
  }
  return text + (keys.size() > kShown ? ", …" : "");
}

void compare_configs(const SmallFiles& suspect, std::span<const SmallFiles> others,
                     Findings& found) {
  const Keys own = keys_of(suspect);
  if (own.empty()) return;
  std::vector<size_t> equal, other;
  std::map<size_t, std::vector<std::string>> differences;
  for (size_t i = 0; i < others.size(); ++i) {
    const Keys its = keys_of(others[i]);
    if (its.empty()) continue;
    auto keys = differing(own, its);
    (keys.empty() ? equal : other).push_back(i);
    differences[i] = std::move(keys);
  }
  if (other.empty()) return;
  std::ranges::stable_sort(other, {}, [&](size_t i) { return differences[i].size(); });
  const size_t nearest = other.front();
  const std::string from =
      fmt::format("from that of {} it differs in {} {} ({})", printable(others[nearest].model.ref),
                  differences[nearest].size(), differences[nearest].size() == 1 ? "key" : "keys",
                  listed(differences[nearest]));
  if (!equal.empty()) {
    found.add("config-equal",
              fmt::format("config.json equals that of {}; {}", names_of(others, equal), from));
    return;
  }
  // Which one it is nearest to says nothing unless they differ in that.
  if (differences[other.back()].size() == differences[nearest].size()) return;
  found.add(
      "config-nearest",
      fmt::format("config.json equals none of the models compared; {}, from that of {} in {}", from,
                  printable(others[other.back()].model.ref), differences[other.back()].size()));
}

// SHA-256 of a JSON file's text without the white space between its values.
std::string digest_of(const SmallFiles& files, std::string_view name) {
  constexpr uint64_t kMost = 64 << 20;
  if (files.model.folder.empty()) return {};
  const std::filesystem::path path = std::filesystem::path(files.model.folder) / name;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return {};
  const auto file = open_file(path.string());
  if (!file || (*file)->size() > kMost) return {};
  Sha256 hash;
  std::array<char, 1 << 16> piece{};
  std::string kept;
  bool in_string = false, escaped = false;
  for (uint64_t at = 0; at < (*file)->size();) {
    const size_t bytes = std::min<uint64_t>(piece.size(), (*file)->size() - at);
    if (!(*file)->read_at(at, std::as_writable_bytes(std::span(piece).first(bytes)))) return {};
    kept.clear();
    for (const char c : std::span(piece).first(bytes)) {
      const bool blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
      if (in_string || !blank) kept += c;
      if (c == '"' && !escaped) in_string = !in_string;
      escaped = in_string && c == '\\' && !escaped;
    }
    hash.update(std::string_view(kept));
    at += bytes;
  }
  const Digest digest = hash.finish();
  return to_hex(digest);
}

struct Setting {
  std::string_view noun, equal_id, differs_id;          // differs_id empty: that is not told
  std::function<std::string(const SmallFiles&)> value;  // empty: it has none
};

void compare_setting(const Setting& setting, const SmallFiles& suspect,
                     std::span<const SmallFiles> others, Findings& found) {
  const std::string own = setting.value(suspect);
  if (own.empty()) return;
  std::vector<size_t> equal, other;
  for (size_t i = 0; i < others.size(); ++i) {
    const std::string its = setting.value(others[i]);
    if (!its.empty()) (its == own ? equal : other).push_back(i);
  }
  if (other.empty()) return;
  if (!equal.empty()) {
    found.add(setting.equal_id,
              fmt::format("its {} equals that of {}, unlike that of {}", setting.noun,
                          names_of(others, equal), names_of(others, other)));
  } else if (!setting.differs_id.empty()) {
    found.add(setting.differs_id,
              fmt::format("its {} differs from that of {}", setting.noun, names_of(others, other)));
  }
}

}  // namespace

void compare_settings(const SmallFiles& suspect, std::span<const SmallFiles> others,
                      Findings& found) {
  compare_configs(suspect, others, found);
  const auto file = [](std::string_view name) {
    return [name](const SmallFiles& files) { return digest_of(files, name); };
  };
  const std::array<Setting, 4> settings{
      Setting{"tokenizer.json", "tokenizer-equal", "tokenizer-differs", file("tokenizer.json")},
      Setting{"chat template", "chat-template-equal", "chat-template-differs",
              [](const SmallFiles& files) { return files.chat_template.value_or(""); }},
      Setting{"special_tokens_map.json", "special-tokens-equal", "",
              file("special_tokens_map.json")},
      Setting{"generation_config.json", "generation-config-equal", "",
              file("generation_config.json")}};
  for (const Setting& setting : settings) compare_setting(setting, suspect, others, found);
}

}  // namespace hieron
