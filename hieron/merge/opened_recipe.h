// A recipe with its models opened: which tensors each part of it speaks of, and in which layer they
// stand. For the planner and its checks.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "hieron/merge/findings.h"
#include "hieron/merge/layer_map.h"
#include "hieron/merge/layers.h"
#include "hieron/merge/modules.h"
#include "hieron/merge/plan.h"
#include "hieron/merge/recipe.h"
#include "hieron/model/roles.h"

namespace hieron {

// A source of a slice.
struct SliceSource {
  const RecipeSource* source;
  uint32_t model;
  uint32_t slot;
  uint64_t first = 0, last = 0;  // layers; known once the ranges are checked
};

struct OpenSlice {
  const RecipeSlice* slice;
  std::vector<SliceSource> sources;
  std::optional<uint32_t> base;  // the model, where the method has a use for one
};

// One module of the recipe, or all of it.
struct Body {
  const RecipeModule* module = nullptr;  // null: the whole model
  bool by_slices = false;
  std::vector<OpenSlice> slices;
  std::vector<LayerSource> stack = {};  // per output layer, if by slices
  std::optional<ModelPart> part = {};   // null: the whole model, or what no other body takes
  const ModuleRule* rule = nullptr;     // of its layers, where the table of modules has one
  ModuleRule::Names counts = {};        // where config.json counts them
};

// What is known of a model beyond its tensors.
struct ModelFacts {
  const Checkpoint* checkpoint;
  const RoleTable* roles;
  std::string architecture, quantization;
  std::optional<uint64_t> stated;  // layers, by config.json
  std::vector<uint32_t> bodies;    // by tensor: whose it is, or kNoPart; empty: all of the first
  std::optional<LayerMap> layers;  // if layers matter
};

struct OpenedRecipe {
  std::vector<Body> bodies;          // one, or one for each module
  std::optional<uint32_t> base;      // the recipe's base_model
  std::deque<RecipeSource> implied;  // bases that the recipe does not list
  std::vector<ModelFacts> facts;     // by model
  std::optional<ModelParts> parts;   // if the recipe has modules

  bool by_modules() const { return bodies.front().module != nullptr; }
  bool by_slices() const;
  uint32_t body_of(uint32_t model, const TensorInfo& tensor) const;
  std::optional<LayerName> layer_of(uint32_t model, const TensorInfo& tensor) const;
  double depth_of(uint32_t model, const TensorInfo& tensor) const;
  // Outside the layers that are sliced: does it come from the last slice, not from the first? A
  // tower beside them comes whole from the first, the block of multi-token prediction from the
  // last.
  bool comes_after(uint32_t model, const TensorInfo& tensor) const;
};

// Fills `facts` and `parts` from the plan's models. Problems: modules that there are not, tensors
// that two of them take.
void learn_models(const Plan& plan, OpenedRecipe& opened, Findings& findings);

}  // namespace hieron
