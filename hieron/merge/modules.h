// The parts of a model of several parts (a vision tower beside a language model, an encoder beside
// a decoder): what a recipe calls them, which tensors are theirs, and where config.json counts
// their layers.
//
// The names by architecture are data, and mergekit's own (modules.cc). Any other name is read as
// the beginning of tensor names, at whole segments, dots and underscores alike, also below
// "model.": "visual", "vision_tower.encoder", "model.language_model.layers". "default" is whatever
// no other part of the recipe takes.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

inline constexpr std::string_view kDefaultModule = "default";

// A row of the table.
struct ModuleRule {
  using Names = std::span<const std::string_view>;
  std::string_view name;
  Names prefixes;        // the part is there if a tensor's name begins with one of these
  Names also = {};       // and then takes these too ("lm_head")
  Names counts = {};     // where config.json has the number of its layers: "text_config.n_layer"
  Names numbering = {};  // and where it speaks of single layers by their number
  std::string_view unsaid = {};  // without any of `counts`: the number is the same as here
};

// The counts of a language model, whatever else there is.
ModuleRule::Names text_layer_counts();

// Which tensors belong to a part, by their names.
class ModelPart {
 public:
  // Tensors that begin with one of `prefixes`, unless with a longer one of `except`.
  ModelPart(std::vector<std::string> prefixes, std::vector<std::string> except)
      : prefixes_(std::move(prefixes)), except_(std::move(except)) {}

  bool takes(std::string_view tensor) const;

 private:
  std::vector<std::string> prefixes_, except_;
};

class ModelParts {
 public:
  // `architecture`: config.json's. `models`: those whose tensors are meant; all of them are asked,
  // as one may lack a part. They must outlive this.
  ModelParts(std::string_view architecture, std::vector<const Checkpoint*> models);

  // Is this one of the architectures whose parts mergekit knows by name?
  static bool knows(std::string_view architecture);

  // Nothing if no tensor belongs to a part of this name ("default" is none).
  std::optional<ModelPart> find(std::string_view name) const;

  // What parts there are, for messages. None: the model is of one part.
  std::vector<std::string> names() const;

  // mergekit knows the parts of this architecture, and this is none of them.
  bool unknown_to_mergekit(std::string_view name) const;

  // The row of the table for a tensor; null where there is none.
  const ModuleRule* rule_of(std::string_view tensor) const;
  std::span<const ModuleRule> rules() const { return rules_; }

 private:
  bool there(const ModuleRule& rule) const;
  std::optional<ModelPart> by_rule(std::string_view name) const;
  std::optional<ModelPart> by_prefix(std::string_view name) const;

  std::span<const ModuleRule> rules_;
  bool known_to_mergekit_ = false;
  std::vector<const Checkpoint*> models_;
  std::set<std::string, std::less<>> beginnings_;  // of names: up to three segments, none a number
};

}  // namespace hieron
