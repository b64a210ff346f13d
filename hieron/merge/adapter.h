// A PEFT adapter applied on the fly: base + adapter is a checkpoint like any other.
//
// The folder holds adapter_config.json and adapter_model.safetensors, as PEFT saves them. Module X
// of the base gets
//
//   X.lora_A.weight, X.lora_B.weight                 W + s·B·A, or W + s·(B·A)ᵀ for fan_in_fan_out
//   X.lora_embedding_A, X.lora_embedding_B           W + s·(B·A)ᵀ
//   X.lora_magnitude_vector.weight                   DoRA, see low_rank.h
//   X.lora_B.bias                                    b + s·bias
//   X.weight, X.bias, X.base_layer.weight …          that tensor in place of the base's, rounded to
//   the
//                                                    base's dtype (modules_to_save, bias,
//                                                    embeddings)
//   s = alpha / r, or alpha / √r (rsLoRA); rank_pattern and alpha_pattern per module
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "hieron/merge/adapter_config.h"
#include "hieron/merge/low_rank.h"
#include "hieron/walk/checkpoint.h"

namespace hieron {

// How an adapter is added, where that is not what its config says.
struct AdapterUse {
  AdapterArithmetic arithmetic = AdapterArithmetic::kExact;
  std::optional<bool> root_of_rank = {};  // s = alpha / √r, or alpha / r
  std::optional<double> scaling = {};     // s itself, of every module
};

// Is this the folder of an adapter, with no weights of a model beside it?
bool is_adapter(const std::string& folder);

// The merged model as a view: `base` with the tensors that the adapter changes Computed. Only
// headers and the adapter's config are read; factors are read when a tensor is, and kept while
// there is room (64 MiB an adapter). Experts that an adapter names one by one may be fused in the
// base.
//
// Refused: what is not a LoRA, or is one of a kind that changes more than a sum (PiSSA and its kin,
// whose base is not the base; layer replication; single trained tokens; parameters of fused
// experts); a module that the base does not have (with the nearest name), or not in this shape; a
// tensor that no rule reads.
Result<std::shared_ptr<const Checkpoint>> with_adapter(
    const std::shared_ptr<const Checkpoint>& base, const std::string& folder,
    AdapterArithmetic arithmetic = AdapterArithmetic::kExact);
Result<std::shared_ptr<const Checkpoint>> with_adapter(
    const std::shared_ptr<const Checkpoint>& base, const std::string& folder,
    const AdapterUse& use);

// The folder's adapter_config.json.
Result<AdapterConfig> read_adapter_config(const std::string& folder);

}  // namespace hieron
