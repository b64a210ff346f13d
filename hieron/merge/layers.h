// Which layer a tensor belongs to, and what it is called in another one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/model/roles.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// "model.layers.7.mlp.up_proj.weight" -> 7, with the place of its digits.
struct LayerName {
  uint64_t layer;
  size_t begin, end;  // of the digits
};

// The layer of a tensor by the architecture's roles; nothing for those outside the layers.
std::optional<LayerName> layer_name(const RoleTable& roles, const TensorInfo& tensor);

// The same without roles, in whatever part of the model: the number after a word such as "layers"
// or "blocks", else the first that counts no experts. Nothing for names that begin or end with it.
std::optional<LayerName> layer_number(std::string_view tensor);

// Is this the beginning of a name that layers stand under by their word ("model.visual.blocks")?
bool names_layers(std::string_view prefix);

// The same name in another layer.
std::string renumbered(std::string_view tensor, const LayerName& place, uint64_t layer);

// Outside the layers: does it come before them (embeddings), or after (final norm, head)?
bool after_layers(const RoleTable& roles, const TensorInfo& tensor);

// The largest layer number plus one; 0 without layers.
uint64_t count_layers(const RoleTable& roles, const Checkpoint& checkpoint);

// config.json of a layer stack: the number of layers, and lists with an entry per layer. `sources`:
// for each output layer the configuration it was taken from (JSON text) and the layer there. Empty
// text stays empty.
struct LayerSource {
  const std::string* config;
  uint64_t layer;
};
std::string stacked_config(const std::string& config, const std::vector<LayerSource>& sources);

// The same for one part of a model of several. `counts`: the places in config.json that may hold
// the number of its layers, with dots ("vision_config.depth"). The first that is there decides,
// those of equal value follow it, and without any the first is written.
std::string stacked_config(const std::string& config, const std::vector<LayerSource>& sources,
                           std::span<const std::string_view> counts);

// The number at the first of these places that holds one; nothing if none does.
std::optional<uint64_t> stated_layers(const std::string& config,
                                      std::span<const std::string_view> counts);

// config.json with `value` at this place, below objects that are there.
std::string with_number(const std::string& config, std::string_view place, uint64_t value);

// Is there anything at this place?
bool states(const std::string& config, std::string_view place);

// config.json of a model whose vocabulary has other rows.
std::string resized_config(const std::string& config, uint64_t rows);

// config.json with another dtype ("bfloat16"), under the key it already uses. The text is kept if
// nothing changes.
std::string retyped_config(const std::string& config, std::string_view dtype);

}  // namespace hieron
