// What a recipe will do, from headers alone: every output tensor with its inputs, its resolved
// parameters, its shard and byte offset; every input tensor with what becomes of it. No weight is
// read.
//
// A plan is a pure function of the recipe, the options and the models' headers. Its digest names
// the work: an interrupted merge is continued only by the same plan.
//
// Order: output tensors follow the file order of the leading input (layer stacks: slice by slice,
// layer by layer), and shards are filled greedily in that order. So a merge reads every input from
// front to back and writes every shard from front to back, whatever the tensors are called.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/dtype.h"
#include "hieron/core/error.h"
#include "hieron/core/shape.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/method.h"
#include "hieron/merge/recipe.h"
#include "hieron/merge/recipe_models.h"
#include "hieron/model/tokenizer.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

struct PlanOptions {
  std::optional<std::string> arithmetic;  // over the recipe's own
  std::optional<uint64_t> seed = {};      // over the recipe's own
  bool truncate_embeddings = false;       // cut different vocabularies to the shortest
  uint64_t shard_bytes = 5'000'000'000;   // of tensor data; a larger tensor has a shard of its own
  std::optional<ExpertLayout> experts = {};  // over the recipe's own and mergekit's
  std::map<std::string, std::shared_ptr<const Checkpoint>> documents =
      {};                                     // other documents of the
                                              // recipe's file, by name
  std::shared_ptr<OpenedModels> opened = {};  // models that several plans share
  std::vector<std::string> parents = {};      // instead of the models, where these are made too
  ModelSource source = {};                    // of models that are not here
};

// One operand of an output tensor. Slots are the columns of the walk: a model has as many as it has
// operands in one slice (one, unless a recipe merges a model with other layers of itself).
struct PlannedInput {
  uint32_t slot;
  const TensorInfo* tensor;
};

enum class Rule : uint8_t { kMerged, kCopied, kDropped, kRefused };
std::string_view name(Rule rule);  // "merged", "copied", "dropped", "refused"

struct PlannedTensor {
  std::string name;
  DType dtype;  // as it will be stored
  uint64_t elements;
  Rule rule;             // kMerged: computed by `method`; kCopied: the first input's bytes
  const Method* method;  // the plan's; passthrough for what is carried over into another dtype
  std::vector<PlannedInput> inputs;  // in input order, those present; all of one shape
  std::shared_ptr<const TensorParameters> parameters;  // one map per input; shared by tensors alike
  std::optional<uint32_t> base;  // the input that is the origin of the differences
  DType working;                 // inputs are cast to it first if `cast_first`
  DType returned;                // what the method's work stores; then converted to `dtype`
  bool cast_first;
  Arithmetic arithmetic;
  std::optional<mergekit::Version> replay;  // computed as that version does, not by the method
  uint64_t first_word = 0;                  // of its random stream
  uint32_t shard;
  uint64_t offset;  // absolute, in the shard's file

  const Shape& shape() const { return inputs.front().tensor->shape; }
  uint64_t bytes() const { return elements * static_cast<uint64_t>(info(dtype).bits) / 8; }
  uint64_t input_bytes() const {
    uint64_t total = 0;
    for (const PlannedInput& input : inputs) total += input.tensor->bytes();
    return total;
  }
};

struct PlannedShard {
  std::string name;       // model-00001-of-00003.safetensors, or model.safetensors
  std::string header;     // the bytes before the data
  uint64_t bytes;         // of the file
  uint32_t first, count;  // into Plan::tensors
};

// What becomes of one tensor of one model.
struct AccountedTensor {
  uint32_t model;
  const TensorInfo* tensor;
  Rule rule;
  uint32_t reason;  // into Plan::reasons: by which rule
};

struct Problem {
  std::string sentence;
  std::string tensor;
  int line = 0;
  ErrorCode code = ErrorCode::kRefused;
};

struct Plan {
  Recipe recipe;
  const Method* method = nullptr;  // null only if there are problems with the recipe's text
  std::string arithmetic;          // the name asked for: "exact", "mergekit-0.1.5", …
  uint64_t seed = 0;               // of random masks and samples
  bool draws = false;              // the seed decides the result
  std::map<std::string, std::string, std::less<>> texts;  // parameters that are text
  std::vector<PlannedModel> models;
  std::vector<std::string> parents;  // REFs of the models that it is made of, for people
  std::vector<uint32_t> slots;       // slot -> model
  std::vector<PlannedTensor> tensors;
  std::vector<PlannedShard> shards;
  std::vector<AccountedTensor> accounting;  // by model, then file order
  std::vector<std::string> reasons;
  uint32_t donor = 0;                          // model whose config and tokenizer files are copied
  std::string config_json;                     // the output's; empty if the donor has none
  std::vector<TokenizerFile> tokenizer_files;  // the output's; empty: the donor's as they are
  std::vector<Problem> problems;               // a plan with any cannot be executed
  std::vector<std::string> warnings;

  uint64_t output_bytes() const;  // Σ shard files
  // Canonical: the same plan gives the same bytes. `more`: members that are added at the end.
  std::string to_json(std::string_view more = {}) const;
  std::string digest() const;  // SHA-256 of the part of to_json() that decides the output
};

// Opens the models and plans. An Error only where there is nothing to plan (no model can be opened,
// a bad option); everything else that is wrong is in Plan::problems.
Result<std::shared_ptr<const Plan>> make_plan(Recipe recipe, const PlanOptions& options = {});

// The first problem as an Error that counts the others; success if there are none.
Status executable(const Plan& plan);

}  // namespace hieron
