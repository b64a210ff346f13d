#include "hieron/merge/layers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

namespace hieron {
namespace {

using Json = nlohmann::ordered_json;

// What configurations call the number of layers.
constexpr std::array<const char*, 5> kLayerCountKeys{"num_hidden_layers", "n_layer", "num_layers",
                                                     "n_layers", "num_decoder_layers"};
// Lists of layer numbers, not lists with an entry per layer.
constexpr std::array<const char*, 3> kLayerNumberKeys{"mlp_only_layers", "full_attn_idxs",
                                                      "fullatt_block_indexes"};

// A number right after one of these counts layers; without any, the first number that counts no
// experts does.
constexpr std::array<std::string_view, 7> kLayerWords{"layers", "layer",     "h",  "blocks",
                                                      "block",  "resblocks", "blk"};
constexpr std::array<std::string_view, 3> kExpertWords{"experts", "expert", "local_experts"};
constexpr uint64_t kLargestLayer = 999'999;

// Sections that speak of the text model, in configurations of several.
constexpr std::array<const char*, 3> kTextSections{"text_config", "llm_config", "language_config"};

// The part of a configuration that speaks of the text model's layers.
Json& text_part(Json& config) {
  for (const char* section : kTextSections) {
    const auto nested = config.find(section);
    if (nested != config.end() && nested->is_object()) return *nested;
  }
  return config;
}

const char* layer_count_key(const Json& config) {
  for (const char* key : kLayerCountKeys) {
    if (const auto it = config.find(key); it != config.end() && it->is_number_unsigned())
      return key;
  }
  return nullptr;
}

// "embed_norm", "pre_layrnorm", "ln_pre": the norms that a vision tower has before its layers.
bool is_norm_before_layers(std::string_view name) {
  if (name.find("embed") != std::string_view::npos) return true;
  for (size_t begin = 0, end; begin < name.size(); begin = end + 1) {
    end = std::min(name.find('.', begin), name.size());
    const std::string_view segment = name.substr(begin, end - begin);
    if (segment.starts_with("pre_") || segment.ends_with("_pre")) return true;
  }
  return false;
}

bool is_layer_list(const std::string& key, const Json& value, uint64_t layers) {
  return value.is_array() && value.size() == layers &&
         (key.find("layer") != std::string::npos || key.find("block_type") != std::string::npos);
}

Json parse(const std::string& text) { return Json::parse(text, nullptr, false); }

std::string written(const Json& config) {
  return config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// "vision_config.depth": the object that the last name stands in; null if it is not there.
Json* object_of(Json& config, std::string_view place) {
  Json* at = &config;
  for (size_t dot; (dot = place.find('.')) != std::string_view::npos;
       place.remove_prefix(dot + 1)) {
    const auto it = at->find(place.substr(0, dot));
    if (it == at->end() || !it->is_object()) return nullptr;
    at = &*it;
  }
  return at;
}

std::string key_of(std::string_view place) {
  return std::string(place.substr(place.rfind('.') + 1));  // npos + 1 is 0
}

Json* number_at(Json& config, std::string_view place) {
  Json* object = object_of(config, place);
  if (!object) return nullptr;
  const auto it = object->find(key_of(place));
  return it != object->end() && it->is_number_unsigned() ? &*it : nullptr;
}

// One section of a configuration, rewritten for other layers.
class ConfigStack {
 public:
  // `section_of`: the section in a source's configuration; null if it has none.
  template <class SectionOf>
  ConfigStack(Json& out, const std::vector<LayerSource>& sources, SectionOf section_of)
      : out_(out), sources_(sources) {
    for (const LayerSource& source : sources) {
      if (std::ranges::find(texts_, source.config) != texts_.end()) continue;
      texts_.push_back(source.config);
      Json config = parse(*source.config);
      const Json* section = config.is_object() ? section_of(config) : nullptr;
      configs_.push_back(section ? *section : Json::object());
    }
  }

  // `count`: the key that has the number of layers.
  void rewrite(const std::string& count) {
    const uint64_t layers = out_[count].get<uint64_t>();
    for (auto& [key, value] : out_.items()) {
      if (std::ranges::find(kLayerNumberKeys, key) != kLayerNumberKeys.end()) {
        if (value.is_array()) value = numbers(key);
      } else if (is_layer_list(key, value, layers)) {
        value = entries(key, value);
      }
    }
    out_[count] = sources_.size();
  }

 private:
  const Json& config_of(const LayerSource& source) const {
    return configs_[static_cast<size_t>(std::ranges::find(texts_, source.config) - texts_.begin())];
  }

  // The source's own entry for its layer; where it has none, the donor's.
  Json entries(const std::string& key, const Json& donor) const {
    Json list = Json::array();
    for (const LayerSource& source : sources_) {
      const auto own = config_of(source).find(key);
      const Json& from = own != config_of(source).end() && own->is_array() ? *own : donor;
      if (source.layer < from.size()) list.push_back(from[source.layer]);
    }
    return list;
  }

  Json numbers(const std::string& key) const {
    Json list = Json::array();
    for (size_t i = 0; i < sources_.size(); ++i) {
      const auto own = config_of(sources_[i]).find(key);
      if (own == config_of(sources_[i]).end() || !own->is_array()) continue;
      if (std::ranges::find(*own, Json(sources_[i].layer)) != own->end()) list.push_back(i);
    }
    return list;
  }

  Json& out_;
  const std::vector<LayerSource>& sources_;
  std::vector<const std::string*> texts_;
  std::vector<Json> configs_;
};

}  // namespace

std::optional<LayerName> layer_name(const RoleTable& roles, const TensorInfo& tensor) {
  const auto layer = roles.classify(tensor.name, tensor.shape).layer;
  if (!layer) return std::nullopt;
  const std::string& name = tensor.name;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    uint64_t number = 0;
    const auto [stop, error] = std::from_chars(name.data() + begin, name.data() + end, number);
    if (error == std::errc() && stop == name.data() + end &&
        number == static_cast<uint64_t>(*layer)) {
      return LayerName{number, begin, end};
    }
    begin = end + 1;
  }
  return std::nullopt;
}

std::optional<LayerName> layer_number(std::string_view tensor) {
  std::optional<LayerName> first;
  std::string_view before;
  for (size_t begin = 0, end; (end = tensor.find('.', begin)) != std::string_view::npos;
       begin = end + 1) {
    const std::string_view segment = tensor.substr(begin, end - begin);
    uint64_t number = 0;
    const auto [stop, error] = std::from_chars(segment.begin(), segment.end(), number);
    if (begin > 0 && !segment.empty() && error == std::errc() && stop == segment.end() &&
        number <= kLargestLayer) {
      if (std::ranges::find(kLayerWords, before) != kLayerWords.end())
        return LayerName{number, begin, end};
      const bool expert = std::ranges::find(kExpertWords, before) != kExpertWords.end();
      if (!first && !expert) first = LayerName{number, begin, end};
    }
    before = segment;
  }
  return first;
}

bool names_layers(std::string_view prefix) {
  const std::string_view last = prefix.substr(prefix.rfind('.') + 1);  // npos + 1 is 0
  return std::ranges::find(kLayerWords, last) != kLayerWords.end();
}

std::string renumbered(std::string_view tensor, const LayerName& place, uint64_t layer) {
  std::string name(tensor.substr(0, place.begin));
  name += std::to_string(layer);
  name += tensor.substr(place.end);
  return name;
}

bool after_layers(const RoleTable& roles, const TensorInfo& tensor) {
  const Role role = roles.classify(tensor.name, tensor.shape).role;
  if (role == Role::kHead) return true;
  return role == Role::kNorm && !is_norm_before_layers(tensor.name);
}

uint64_t count_layers(const RoleTable& roles, const Checkpoint& checkpoint) {
  uint64_t layers = 0;
  for (const TensorInfo& tensor : checkpoint.tensors) {
    if (const auto place = layer_name(roles, tensor)) layers = std::max(layers, place->layer + 1);
  }
  return layers;
}

std::string stacked_config(const std::string& config, const std::vector<LayerSource>& sources) {
  Json out = parse(config);
  if (!out.is_object()) return config;
  Json& section = text_part(out);
  if (const char* count = layer_count_key(section)) {
    ConfigStack(section, sources, [](Json& own) { return &text_part(own); }).rewrite(count);
  }
  return written(out);
}

std::string stacked_config(const std::string& config, const std::vector<LayerSource>& sources,
                           std::span<const std::string_view> counts) {
  Json out = parse(config);
  if (!out.is_object() || counts.empty()) return config;
  const auto first =
      std::ranges::find_if(counts, [&](std::string_view place) { return number_at(out, place); });
  if (first == counts.end()) return with_number(config, counts.front(), sources.size());
  const Json before = *number_at(out, *first);
  ConfigStack(*object_of(out, *first), sources, [&](Json& own) {
    return object_of(own, *first);
  }).rewrite(key_of(*first));
  for (const std::string_view place : counts) {
    Json* number = number_at(out, place);
    if (number && *number == before) *number = sources.size();
  }
  return written(out);
}

std::optional<uint64_t> stated_layers(const std::string& config,
                                      std::span<const std::string_view> counts) {
  Json json = parse(config);
  if (!json.is_object()) return std::nullopt;
  for (const std::string_view place : counts) {
    if (const Json* number = number_at(json, place)) return number->get<uint64_t>();
  }
  return std::nullopt;
}

std::string with_number(const std::string& config, std::string_view place, uint64_t value) {
  Json out = parse(config);
  Json* object = out.is_object() ? object_of(out, place) : nullptr;
  if (!object) return config;
  (*object)[key_of(place)] = value;
  return written(out);
}

bool states(const std::string& config, std::string_view place) {
  Json json = parse(config);
  const Json* object = json.is_object() ? object_of(json, place) : nullptr;
  if (!object) return false;
  const auto it = object->find(key_of(place));
  return it != object->end() && !it->is_null() && !(it->is_array() && it->empty());
}

std::string resized_config(const std::string& config, uint64_t rows) {
  Json out = parse(config);
  if (!out.is_object()) return config;
  bool changed = false;
  for (Json* part : {&out, &text_part(out)}) {
    const auto it = part->find("vocab_size");
    if (it == part->end() || *it == rows) continue;
    *it = rows;
    changed = true;
  }
  return changed ? out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : config;
}

std::string retyped_config(const std::string& config, std::string_view dtype) {
  Json out = parse(config);
  if (!out.is_object()) return config;
  const char* key = out.contains("dtype") ? "dtype" : "torch_dtype";
  if (const auto it = out.find(key);
      it != out.end() && it->is_string() && it->get<std::string>() == dtype) {
    return config;
  }
  out[key] = dtype;
  if (Json& text = text_part(out); &text != &out) {
    for (const char* nested : {"dtype", "torch_dtype"}) {
      if (text.contains(nested)) text[nested] = dtype;
    }
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace hieron
