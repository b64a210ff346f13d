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
constexpr std::array<const char*, 2> kLayerNumberKeys{"mlp_only_layers", "full_attn_idxs"};

// The part of a configuration that speaks of the text model's layers.
Json& text_part(Json& config) {
  const auto nested = config.find("text_config");
  return nested != config.end() && nested->is_object() ? *nested : config;
}

const char* layer_count_key(const Json& config) {
  for (const char* key : kLayerCountKeys) {
    if (const auto it = config.find(key); it != config.end() && it->is_number_unsigned())
      return key;
  }
  return nullptr;
}

bool is_layer_list(const std::string& key, const Json& value, uint64_t layers) {
  return value.is_array() && value.size() == layers &&
         (key.find("layer") != std::string::npos || key.find("block_type") != std::string::npos);
}

Json parse(const std::string& text) { return Json::parse(text, nullptr, false); }

class ConfigStack {
 public:
  ConfigStack(Json& out, const std::vector<LayerSource>& sources) : out_(out), sources_(sources) {
    for (const LayerSource& source : sources) {
      if (std::ranges::find(texts_, source.config) != texts_.end()) continue;
      texts_.push_back(source.config);
      Json config = parse(*source.config);
      configs_.push_back(config.is_object() ? text_part(config) : Json::object());
    }
  }

  void rewrite() {
    const char* count = layer_count_key(out_);
    if (!count) return;
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

std::string renumbered(std::string_view tensor, const LayerName& place, uint64_t layer) {
  std::string name(tensor.substr(0, place.begin));
  name += std::to_string(layer);
  name += tensor.substr(place.end);
  return name;
}

bool after_layers(const RoleTable& roles, const TensorInfo& tensor) {
  const Role role = roles.classify(tensor.name, tensor.shape).role;
  if (role == Role::kHead) return true;
  return role == Role::kNorm && tensor.name.find("embed") == std::string::npos;
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
  ConfigStack(text_part(out), sources).rewrite();
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
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
