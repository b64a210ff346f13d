// A router out of prompts, without a forward pass (mergekit-moe's gate_mode "cheap_embed").
//
//   v(P) = s / |s|,  s = Σ over the prompts of P, Σ over a prompt's tokens, of the token's row of
//                        the base's embedding
//   row  = d / |d|,  d = v(positive prompts) − v(negative prompts), or v(positive prompts)
//
// An expert's row is the same in every layer. A prompt's tokens are those of the base's bos_token
// (if it has one) and the prompt, as one text, without what its post_processor would put around.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/model/encode.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

using PromptTokens = std::vector<std::vector<uint32_t>>;  // of each prompt

struct GatePrompts {
  std::string where;  // "moe.yml:7", for messages
  PromptTokens positive, negative;
};

// Refused: a token that the embedding has no row of; prompts of no token at all.
Result<PromptTokens> tokens_of_prompts(const Encoder& encoder,
                                       const std::vector<std::string>& prompts, uint64_t rows,
                                       const std::string& where);

// The rows of `experts`, one after the other, in `dtype`. The embedding's rows are read when the
// first element is.
//
// In f64 and rounded once, whatever the order of prompts and tokens; then refused: rows of no
// length. Or, `replay`: in f32 in torch's order, as mergekit computes it, with a length of at
// least 1e-8; every version has the same.
std::shared_ptr<const ComputedTensor> prompt_gate(std::shared_ptr<const Checkpoint> base,
                                                  const TensorInfo& embedding,
                                                  std::vector<GatePrompts> experts, DType dtype,
                                                  std::optional<mergekit::Version> replay);

}  // namespace hieron
