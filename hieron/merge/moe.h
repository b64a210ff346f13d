// A mixture of experts out of dense models (mergekit-moe): the base's attention, norms and
// embeddings; of each expert the MLPs; a router.
//
//   mixtral    Llama or Mistral models       block_sparse_moe.experts.N.w1, .w2, .w3
//   qwen       Qwen2, Llama or Mistral       mlp.experts.N.gate_proj …, mlp.shared_expert
//              and one shared expert
//   qwen3      Qwen3 models                  mlp.experts.N.gate_proj …
//   deepseek   Llama or Mistral, at most     mlp.experts.N.gate_proj …, mlp.shared_experts
//              one shared expert
//
// Rows of the router, by gate_mode:
//   cheap_embed      the embeddings of the expert's prompts (prompt_gate.h)
//   random           standard normal numbers
//   uniform_random   uniform in ±1/√hidden_size
// Those made from hidden states are refused: they need forward passes.
//
// noise_scale adds σ · standard normal numbers to an expert's MLPs; residual_scale multiplies its
// down_proj, noise included. All random numbers depend on (seed, tensor name, element) alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/recipe.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// Opens a model that the recipe names.
using ModelOpener = std::function<Result<std::shared_ptr<const Checkpoint>>(const ModelRef&)>;

// The mixture as a view: tensors that are taken over as they are stay where they are stored, all
// others are Computed; config_json is the mixture's; folder is the base's, whose tokenizer files
// serve; metadata "hieron_seed" is the seed. Only headers are read, and for cheap_embed the base's
// tokenizer files. Tensors are in the recipe's dtype, else in the base's. `replay`: gates out of
// prompts are computed as that version of mergekit does.
//
// Refused, with the recipe's line where there is one: a gate mode that needs hidden states; prompts
// that cannot be split into tokens (encode.h); models of different kinds, or of kinds that the
// architecture cannot be made from; a base with tensors that it has no place for (biases); experts
// whose MLPs are missing or differ in shape.
Result<std::shared_ptr<const Checkpoint>> make_mixture(
    const MoeRecipe& recipe, const ModelOpener& open, uint64_t seed,
    std::optional<mergekit::Version> replay = {});

}  // namespace hieron
