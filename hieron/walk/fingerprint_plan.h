// Which elements a fingerprint holds: the same ones for everybody, from names and shapes alone.
//
// A logical tensor (walk/canonical.h) is cut into slots of kSlot elements (the last one takes the
// rest). Slots are drawn by PRF(a published seed, canonical name, shape). Tensors of one role and
// layer form a stratum; within one, tensors take turns in an order drawn by the same PRF (experts).
// Strata take turns, a slot each, in a drawn order; but first each group of roles gets
// kGroupElements. Whoever takes fewer elements takes a part of the same: a smaller fingerprint is
// contained in a larger one of the same model. The dtype plays no part.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/prf.h"
#include "hieron/model/roles.h"
#include "hieron/walk/canonical.h"

namespace hieron {

inline constexpr uint64_t kSlot = 2048;            // elements: 4 KiB at 16 bits
inline constexpr uint64_t kGroupElements = 16384;  // of a group of roles, if the model has as many

// SHA-256 of "hieron.fingerprint/1": nothing up its sleeve.
const Seed& fingerprint_seed();

// The first `count` slots of a tensor in the order in which they are drawn, as runs: ascending,
// neighbours joined.
std::vector<Run> fingerprint_runs(std::string_view canonical, const Shape& shape, uint64_t count);
uint64_t fingerprint_slots(uint64_t elements);  // that a tensor has

struct FingerprintTensor {
  LogicalTensor logical;
  std::vector<Run> runs;  // of the logical tensor
  uint64_t rank = 0;      // a fingerprint of no more elements than this does not have it
};

struct FingerprintPlan {
  std::vector<FingerprintTensor> tensors;  // wider dtypes first, then by name
  uint64_t elements = 0;                   // asked for
  uint64_t held = 0;                       // of all runs
  std::vector<std::string> left_out;       // tensors that cannot be in a fingerprint
};

// By the size of the model: 100 kB for small ones, 2 MB for 7B, 4 MB for the largest, at 16 bits.
uint64_t usual_fingerprint_elements(uint64_t parameters);

// `elements`: about as many (never fewer than kGroupElements of each group).
FingerprintPlan plan_fingerprint(const Checkpoint& checkpoint, uint64_t elements);

// The groups that get kGroupElements each: "embedding", "head", "norm", "router", "attention",
// "mlp", "experts", "recurrent", "other".
std::string_view fingerprint_group(Role role);

}  // namespace hieron
