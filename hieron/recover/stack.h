// Layer stacks: whole layers of the candidates, at whatever place in the suspect.
//
// Every tensor of a layer is looked up by its name inside the layer, its shape and a part of its
// bytes. What the map says is only a recipe; replaying it decides.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/recover/candidates.h"

namespace hieron {

struct StackedLayer {
  size_t model;
  uint64_t layer;
  // Tensors that were scaled, by what their name ends with in any layer (".mlp.down_proj.weight").
  std::vector<std::pair<std::string, double>> scales;
};

struct LayerStack {
  std::vector<StackedLayer> layers;  // by layer of the suspect
  // Layers of one model alone, each once and in their order: that model may as well have been made
  // by adding layers to the suspect.
  bool has_direction = true;
};

// Nothing: some layer is in no candidate, or every layer stands where it came from.
Result<std::optional<LayerStack>> find_stack(const Candidates& given);

// mergekit YAML; refs[model]: how each model is named. `dtype`: mergekit's name, or empty.
std::string stack_yaml(const LayerStack& stack, const std::vector<std::string>& refs,
                       const std::string& dtype);

}  // namespace hieron
