// The experts of a mixture: a tensor for each, or one for all of a layer. The same content either
// way.
//
//   separate   P.experts.3.gate_proj.weight [I, H], .up_proj.weight [I, H], .down_proj.weight [H,
//   I]
//              Mixtral and its kin: P.experts.3.w1.weight, .w3.weight, .w2.weight,
//              with P = ….block_sparse_moe (fused: ….mlp, for everything below it)
//   fused      P.experts.gate_up_proj [E, 2I, H]: of each expert the gate's rows, then the up rows
//              P.experts.down_proj    [E, H, I]
//   Experts without a gate (Nemotron-H) have P.experts.up_proj [E, I, H] in its place.
//
// The names are those of transformers: 4.x and the hub store experts separate, 5.x fused.
#pragma once

#include <memory>
#include <optional>

#include "hieron/merge/recipe.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// How a checkpoint stores its experts: kSeparate if any layer does. Nothing if it has none, or
// stores them in a manner of its own (transposed or interleaved: gpt-oss, Llama 4, granite).
std::optional<ExpertLayout> expert_layout(const Checkpoint& checkpoint);

// The same checkpoint with its experts in `layout`; itself if there is nothing to change. No data
// is read: an expert of a fused tensor is a range of its file, a fused tensor is read from where
// its parts lie (contiguous parts in one go). All other tensors stay as they are; a tensor made of
// several stands where the first of them stood.
//
// Refused: a group of experts that lacks one, or whose dtypes or shapes differ; experts with more
// than their weights (biases, quantisation scales); a fused layout of another meaning that should
// be taken apart.
Result<std::shared_ptr<const Checkpoint>> with_experts(
    const std::shared_ptr<const Checkpoint>& checkpoint, ExpertLayout layout);

}  // namespace hieron
