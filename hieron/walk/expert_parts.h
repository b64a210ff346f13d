// How the experts of a mixture are named, and where the parts of a fused tensor lie.
//
//   separate   P.experts.3.gate_proj.weight [I, H], .up_proj.weight [I, H], .down_proj.weight [H,
//   I]
//              Mixtral and its kin: P.experts.3.w1.weight, .w3.weight, .w2.weight,
//              with P = ….block_sparse_moe (fused: ….mlp, for everything below it)
//   fused      P.experts.gate_up_proj [E, 2I, H]: of each expert the gate's rows, then the up rows
//              P.experts.down_proj    [E, H, I]
//   Experts without a gate (Nemotron-H) have P.experts.up_proj [E, I, H] in its place.
//
// The names are those of transformers: 4.x and the hub store experts separate, 5.x fused. Layouts
// whose parts are no contiguous stretches (gpt-oss and Llama 4 transposed or interleaved, granite)
// are not taken apart.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/walk/checkpoint.h"

namespace hieron {

enum ExpertPart : uint8_t { kGatePart, kUpPart, kDownPart };

struct ExpertLeaf {
  std::string_view name;
  ExpertPart part;
  bool numbered;  // w1, w2, w3
};
const ExpertLeaf* find_expert_leaf(std::string_view name);  // null: another tensor of an expert
std::string_view expert_leaf_name(ExpertPart part, bool numbered);

// "P.experts.3.w1.weight": P, 3, "w1.weight".
struct ExpertName {
  std::string_view prefix;
  uint64_t number;
  std::string_view leaf;
};
std::optional<ExpertName> parse_expert(std::string_view name);

// "P.experts.gate_up_proj" and the like.
struct FusedName {
  std::string_view prefix, leaf;
};
std::optional<FusedName> parse_fused(std::string_view name);

inline constexpr std::string_view kExpertsSegment = ".experts.";
inline constexpr std::string_view kSparseBlock = ".block_sparse_moe";
inline constexpr std::string_view kMlpBlock = ".mlp";

// P as it is called where experts are fused, and where they are separate.
std::string fused_prefix(std::string_view prefix, bool numbered);
std::string separate_prefix(std::string_view prefix, bool numbered);

// Is the tensor one of a pair [E, 2I, H] (or [E, I, H]) and [E, H, I] of plain weights?
bool can_take_apart(const Checkpoint& checkpoint, const TensorInfo& tensor, const FusedName& name);

// One expert's part of such a tensor: a contiguous stretch.
struct ExpertStretch {
  uint64_t expert;
  ExpertPart part;
  uint64_t first;  // element of the fused tensor
  Shape shape;     // [rows, columns]
};
std::vector<ExpertStretch> take_apart(const TensorInfo& fused, const FusedName& name);

}  // namespace hieron
