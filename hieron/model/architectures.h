// Which tensor names mean what, by architecture: the data behind RoleTable.
//
// A pattern is a run of whole name segments (the parts between dots). What follows it in a name is
// the parameter ("weight", "bias", "weight_scale_inv", "lora_A.weight"): it has the role of its
// module.
//   {layer}.mlp.up_proj     begins right after the layer's number; what stands before it is free
//   {layer}.experts.{expert}.w1      {expert} is a number after "experts"
//   embed_tokens            anywhere in a name that has no layer
// The first pattern that fits wins, so particular ones stand before general ones.
//
// A fused tensor has the role of its first part: qkv is attention.q, kv attention.k, gate_up
// mlp.gate (also where gate and up rows alternate). Low-rank pairs (q_a, q_b) have the role of
// their product. Shared experts are experts without a number. Router: the matrix and its bias; a
// load-balancing counter (e_score_correction_bias) is `other`, and so are attention sinks, masks
// and hyper-connections. State-space and linear-attention tensors are `recurrent`, their norms
// `norm`.
#pragma once

#include <span>
#include <string_view>

#include "hieron/model/roles.h"

namespace hieron {

struct RoleRule {
  std::string_view pattern;
  Role role;
};

using RoleRules = std::span<const RoleRule>;

struct ArchitectureRules {
  std::string_view architecture;     // config.json architectures[0]
  std::span<const RoleRules> rules;  // asked in this order, then the generic ones
};

std::span<const ArchitectureRules> architectures();
std::span<const RoleRules> generic_rules();

// Where neither fits: words in the lower-cased name, the first that is there wins.
struct RoleWord {
  std::string_view word;
  Role role;
  bool whole;         // no letter right before or after it
  bool outside_only;  // only in names without a layer
};
std::span<const RoleWord> role_words();

// Name segments that begin a part of the model beside the main stack.
struct TowerName {
  std::string_view segment;
  std::string_view tower;
};
std::span<const TowerName> tower_names();

}  // namespace hieron
