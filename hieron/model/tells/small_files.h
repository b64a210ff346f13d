// The small files of a model, read once and within limits. What is too large, damaged or absent is
// empty: it says nothing.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/model/tells.h"

namespace hieron {

// What a model card says of itself: README.md, its front matter read as YAML.
struct ModelCard {
  std::string text;   // the whole of it
  std::string title;  // its first heading
  std::string name;   // model_name
  std::vector<std::string> base_models, tags;
  std::string relation;  // base_model_relation
  std::string licence;   // license, or license_name where that is "other"
};
ModelCard parse_card(std::string text);

struct LicenceFile {
  std::string file;  // its name
  std::string text;
};

struct SmallFiles {
  const ModelFiles& model;
  std::string name;  // the last component of its ref: "Qwen3-8B" of Qwen/Qwen3-8B@main
  std::optional<ModelCard> card;
  std::shared_ptr<const nlohmann::json> config;  // an object, or null
  std::optional<std::string> chat_template;
  std::vector<LicenceFile> licences;  // LICENSE, COPYING …
  std::optional<std::string> notice;
};
SmallFiles read_small_files(const ModelFiles& model);

// What the public calls it: its name on the hub, or what its card says; empty: not known (a local
// folder may be called anything).
std::string published_name(const SmallFiles& files);

// The text of a file, if it is a regular file of at most `limit` bytes.
std::optional<std::string> small_text(const std::string& folder, std::string_view file,
                                      uint64_t limit = 1 << 20);
// An object of bounded depth, or null.
std::shared_ptr<const nlohmann::json> parse_object(std::string_view text);
// The string under this key, or empty.
std::string text_at(const nlohmann::json& object, const char* key);

std::string lower_case(std::string_view text);  // ASCII letters
bool mentions(std::string_view lower_text, std::string_view lower_word);
// The line, from 1, that this place lies in.
size_t line_at(std::string_view text, size_t at);

// "Qwen3-8B" of "hf://Qwen/Qwen3-8B@main", of "models/Qwen3-8B/", and of the hub's cache
// "…/models--Qwen--Qwen3-8B/snapshots/<commit>".
std::string public_name(std::string_view ref);
// Do these name the same model? By organisation and name where both give one, else by name.
bool same_model(std::string_view a, std::string_view b);

// Adds tells; their weights stand in one table with their ids.
class Findings {
 public:
  void add(std::string_view id, std::string sentence);
  std::vector<Tell> by_weight() &&;  // in the order found within a weight

 private:
  std::vector<Tell> found_;
};

}  // namespace hieron
