// A LoRA adapter out of a fine-tune and its base: for each weight matrix the best product of two
// thin ones for what changed, written as PEFT writes adapters.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/merge/low_rank_fit.h"
#include "hieron/walk/checkpoint.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct ExtractOptions {
  LowRankWish wish{};      // of every matrix
  Seed seed{};             // of the random sketches; the default is as good as any
  unsigned threads = 0;    // 0: as many as the machine has cores
  bool overwrite = false;  // replace an adapter in the folder
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(const Progress&)>
      progress{};  // bytes of tensors compared; one thread at a time
};

struct ExtractedMatrix {
  std::string module;
  uint64_t rank;
  double norm, relative_error;  // of the change, and of what the adapter misses of it
};

struct NotExtracted {
  std::string tensor, reason;
};

struct Extraction {
  std::vector<ExtractedMatrix> matrices;  // in file order
  std::vector<std::string> saved;         // modules kept whole (modules_to_save)
  std::vector<NotExtracted> left_out;     // changed, but an adapter has no place for it
  uint64_t unchanged = 0;                 // tensors
  uint64_t bytes = 0;                     // of adapter_model.safetensors
  double relative_error = 0;              // of the change of all tensors together
};

// Writes FOLDER/adapter_model.safetensors, then FOLDER/adapter_config.json. Applied to the base
// (with_adapter, or PEFT) it gives the model up to the errors reported.
//
// A matrix (attention, MLP, expert, output layer) becomes a pair; embeddings, routers, norms,
// biases and modules whose bias changed are kept whole. Fused experts are seen one by one. alpha is
// the rank everywhere, so that scaling is 1. The same bytes for any number of threads. Memory: the
// factors, and what fit_low_rank takes on each thread.
//
// Refused: models that share no tensor, or have nothing that differs, or no matrix that does (PEFT
// opens no adapter without one); a folder that is in use.
Result<Extraction> extract_adapter(const std::shared_ptr<const Checkpoint>& model,
                                   const std::shared_ptr<const Checkpoint>& base,
                                   const std::string& folder, const ExtractOptions& options);

}  // namespace hieron
