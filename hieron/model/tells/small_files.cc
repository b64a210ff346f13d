#include "hieron/model/tells/small_files.h"

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "hieron/format/yaml.h"
#include "hieron/io/file.h"

namespace hieron {
namespace {

using nlohmann::json;

constexpr uint64_t kTokenizerConfig = 16 << 20;  // lists of added tokens are long
constexpr int kDepth = 32;                       // of nested objects
constexpr std::string_view kBlank = " \t\r";

constexpr std::string_view kCard = "README.md";
constexpr std::string_view kTemplates[] = {"chat_template.jinja", "chat_template.json",
                                           "tokenizer_config.json"};
constexpr std::string_view kLicences[] = {"LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE",
                                          "COPYING"};
constexpr std::string_view kNotices[] = {"NOTICE", "NOTICE.txt", "Notice", "Notice.txt"};

// Weights are given here and nowhere else; docs/tells.md says what they rest on.
struct Kind {
  std::string_view id, weight;
};
constexpr std::string_view kStrong = "strong hint";
constexpr std::string_view kHint = "hint";
constexpr std::string_view kWeak = "weak hint";
constexpr Kind kKinds[] = {
    {"mergekit-config-file", kStrong},
    {"hieron-manifest", kStrong},
    {"mergekit-index-version", kStrong},
    {"merge-recipe-metadata", kStrong},
    {"merge-models-metadata", kStrong},
    {"modelspec-merged-from", kStrong},
    {"shards-in-name-order-5gb", kStrong},
    {"card-relation-merge", kStrong},
    {"shards-in-name-order", kHint},
    {"adapter-config-file", kHint},
    {"mergekit-card", kHint},
    {"card-tag-merge", kHint},
    {"card-several-bases", kHint},
    {"card-base-offered", kHint},
    {"card-changed", kHint},
    {"template-names-another", kHint},
    {"licence-of-another-family", kHint},
    {"tokenizer-equal", kHint},
    {"chat-template-equal", kHint},
    {"trainer-state-file", kWeak},
    {"config-name-or-path", kWeak},
    {"tokenizer-name-or-path", kWeak},
    {"card-base-not-offered", kWeak},
    {"card-from-scratch", kWeak},
    {"family-unnamed", kWeak},
    {"licence-notice-missing", kWeak},
    {"licence-name-rule", kWeak},
    {"licence-differs", kWeak},
    {"notice-dropped", kWeak},
    {"card-licence-differs", kWeak},
    {"card-names-offered", kWeak},
    {"config-equal", kWeak},
    {"config-nearest", kWeak},
    {"special-tokens-equal", kWeak},
    {"generation-config-equal", kWeak},
    {"tokenizer-differs", kWeak},
    {"chat-template-differs", kWeak},
    {"shards-cut-alike", kWeak},
};

// What stands between the first line "---" and the next one.
std::string_view front_matter(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!text.starts_with("---\n") && !text.starts_with("---\r\n")) return {};
  text.remove_prefix(text.find('\n') + 1);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    while (!line.empty() && kBlank.find(line.back()) != kBlank.npos) line.remove_suffix(1);
    if (line == "---") return text.substr(0, at);
    at = end + 1;
  }
  return {};
}

std::string first_heading(std::string_view text) {
  const std::string_view front = front_matter(text);
  if (!front.empty()) text.remove_prefix(static_cast<size_t>(front.end() - text.begin()) + 3);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.starts_with("# ")) {
      line.remove_prefix(2);
      while (!line.empty() && kBlank.find(line.back()) != kBlank.npos) line.remove_suffix(1);
      return std::string(line);
    }
    at = end + 1;
  }
  return {};
}

// A scalar, or all scalars of a list.
std::vector<std::string> texts(const yaml::Node* node) {
  constexpr size_t kMost = 64;
  std::vector<std::string> all;
  if (!node) return all;
  if (node->kind == yaml::Kind::kScalar) all.push_back(node->text);
  for (const yaml::NodePtr& item : node->items) {
    if (item->kind == yaml::Kind::kScalar && all.size() < kMost) all.push_back(item->text);
  }
  return all;
}

std::string text(const yaml::Node* node) {
  const auto all = texts(node);
  return all.empty() ? std::string() : all.front();
}

// A string, or a list of named ones: all of them.
std::optional<std::string> template_in(const json& object) {
  const auto it = object.find("chat_template");
  if (it == object.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return {};
  std::string all;
  for (const json& one : *it) {
    if (one.is_object()) all += text_at(one, "template") + "\n";
  }
  if (all.empty()) return {};
  return all;
}

std::optional<std::string> chat_template(const std::string& folder) {
  for (const std::string_view file : kTemplates) {
    auto content = small_text(folder, file, kTokenizerConfig);
    if (!content) continue;
    if (file.ends_with(".jinja")) return content;
    const auto object = parse_object(*content);
    if (!object) continue;
    if (auto found = template_in(*object)) return found;
  }
  return {};
}

}  // namespace

std::span<const std::string_view> telling_files() {
  static constexpr std::string_view kAll[] = {"README.md",
                                              "tokenizer.json",
                                              "tokenizer_config.json",
                                              "chat_template.jinja",
                                              "chat_template.json",
                                              "special_tokens_map.json",
                                              "LICENSE",
                                              "LICENSE.txt",
                                              "LICENSE.md",
                                              "LICENCE",
                                              "COPYING",
                                              "NOTICE",
                                              "NOTICE.txt",
                                              "Notice",
                                              "Notice.txt",
                                              "mergekit_config.yml",
                                              "generation_config.json",
                                              "adapter_config.json",
                                              "hieron.json",
                                              "trainer_state.json"};
  return kAll;
}

ModelCard parse_card(std::string content) {
  ModelCard card;
  card.text = std::move(content);
  card.title = first_heading(card.text);
  const auto front = yaml::parse(front_matter(card.text), std::string(kCard));
  if (!front) return card;
  const yaml::Node& root = **front;
  card.name = text(root.find("model_name"));
  card.base_models = texts(root.find("base_model"));
  card.tags = texts(root.find("tags"));
  card.relation = text(root.find("base_model_relation"));
  card.licence = text(root.find("license"));
  if (card.licence == "other" && root.find("license_name")) {
    card.licence = text(root.find("license_name"));
  }
  return card;
}

SmallFiles read_small_files(const ModelFiles& model) {
  SmallFiles files{.model = model,
                   .name = public_name(model.ref),
                   .card = {},
                   .config = parse_object(model.config_json),
                   .chat_template = {},
                   .licences = {},
                   .notice = {}};
  if (model.folder.empty()) return files;
  if (auto card = small_text(model.folder, kCard)) files.card = parse_card(*std::move(card));
  files.chat_template = chat_template(model.folder);
  for (const std::string_view name : kLicences) {
    if (auto content = small_text(model.folder, name)) {
      files.licences.push_back({std::string(name), *std::move(content)});
    }
  }
  for (const std::string_view name : kNotices) {
    if (!files.notice) files.notice = small_text(model.folder, name);
  }
  return files;
}

std::optional<std::string> small_text(const std::string& folder, std::string_view file,
                                      uint64_t limit) {
  if (folder.empty()) return {};
  const std::filesystem::path path = std::filesystem::path(folder) / file;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return {};
  auto content = read_text(path.string(), limit);
  if (!content) return {};
  return *std::move(content);
}

std::shared_ptr<const json> parse_object(std::string_view content) {
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= kDepth; };
  auto object = std::make_shared<json>(
      json::parse(content.begin(), content.end(), shallow, /*allow_exceptions=*/false));
  if (!object->is_object()) return nullptr;
  return object;
}

std::string text_at(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

std::string lower_case(std::string_view content) {
  std::string lower(content);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

bool mentions(std::string_view lower_text, std::string_view lower_word) {
  return !lower_word.empty() && lower_text.find(lower_word) != std::string_view::npos;
}

size_t line_at(std::string_view content, size_t at) {
  return 1 + static_cast<size_t>(std::ranges::count(content.substr(0, at), '\n'));
}

namespace {

// "org/name" or "name".
std::string repository(std::string_view ref) {
  if (const size_t cache = ref.find("models--"); cache != ref.npos) {
    std::string_view rest = ref.substr(cache + 8);
    rest = rest.substr(0, rest.find('/'));
    const size_t cut = rest.find("--");
    if (cut == rest.npos) return std::string(rest);
    return std::string(rest.substr(0, cut)) + "/" + std::string(rest.substr(cut + 2));
  }
  for (const std::string_view scheme : {"hf://", "https://huggingface.co/"}) {
    if (ref.starts_with(scheme)) ref.remove_prefix(scheme.size());
  }
  while (ref.ends_with('/')) ref.remove_suffix(1);
  if (const size_t at = ref.rfind('@'); at != ref.npos && at > 0) ref = ref.substr(0, at);
  for (const std::string_view suffix : {"/model.safetensors.index.json", "/model.safetensors"}) {
    if (ref.ends_with(suffix)) ref.remove_suffix(suffix.size());
  }
  return std::string(ref);
}

}  // namespace

std::string public_name(std::string_view ref) {
  const std::string full = repository(ref);
  const size_t slash = full.rfind('/');
  return slash == full.npos ? full : full.substr(slash + 1);
}

bool same_model(std::string_view a, std::string_view b) {
  const std::string x = lower_case(repository(a)), y = lower_case(repository(b));
  // A path says less than "organisation/name": there only the last component counts.
  const auto hub_id = [](const std::string& name) {
    return std::ranges::count(name, '/') == 1 && !name.starts_with('.') && !name.starts_with('/');
  };
  if (hub_id(x) && hub_id(y) && x == y) return true;
  const std::string name = lower_case(public_name(a));
  return !name.empty() && name == lower_case(public_name(b));
}

std::string published_name(const SmallFiles& files) {
  for (const std::string_view place :
       {std::string_view(files.model.folder), std::string_view(files.model.ref)}) {
    if (place.starts_with("hf://") || place.find("models--") != place.npos) {
      return public_name(place);
    }
  }
  if (!files.card) return {};
  return files.card->name.empty() ? files.card->title : files.card->name;
}

void Findings::add(std::string_view id, std::string sentence) {
  const auto* const kind = std::ranges::find(kKinds, id, &Kind::id);
  assert(kind != std::end(kKinds));
  found_.push_back({std::string(id), std::move(sentence), std::string(kind->weight)});
}

std::vector<Tell> Findings::by_weight() && {
  std::ranges::stable_sort(found_, {}, [](const Tell& tell) {
    return tell.weight == kStrong ? 0 : tell.weight == kHint ? 1 : 2;
  });
  return std::move(found_);
}

}  // namespace hieron
