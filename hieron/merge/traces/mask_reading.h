// Which masks a suspect's states show (state_table.h): of which family, how dense, drawn from which
// seed. docs/recovery.md §8.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/state_table.h"

namespace hieron {

// How a mask chooses; as the sparsifiers of task_vectors.h.
enum class MaskFamily : uint8_t {
  kNone,       // nothing is dropped
  kMagnitude,  // the largest are kept
  kOutliers,   // the same, without the largest of all
  kRandom,     // each with one probability
  kRanked,     // with a probability that grows with the rank in the row
};
std::string_view name(MaskFamily family);  // "none", "magnitude", "outliers", "random", "ranked"

struct Estimate {
  double value = 0, low = 0, high = 0;  // bounds: of what the labels allow
};

struct ParentMask {
  bool masked = false;
  Estimate density;  // kept share (kRanked: of the middle rank)
  Estimate gamma;    // kOutliers: dropped share of the largest
  Estimate epsilon;  // kRanked
  // a_k of the states, divided by what the mask's rescaling makes of it if `rescaled`.
  double product = 0, error = 0;
  double product_rescaled = 0, error_rescaled = 0;
};

// The random numbers behind a mask.
struct MaskSeed {
  uint64_t seed;
  bool torch;  // mergekit's stream; else the counters of random_mask.h
  // Parents (of the table) in input order. Of the counters: and where the base stands among them,
  // if it is one of the inputs.
  std::vector<size_t> order;
  std::optional<size_t> base_at;
  double bits;  // against chance
};

struct MaskReading {
  StateTable states;
  MaskFamily family = MaskFamily::kNone;
  std::vector<ParentMask> masks;  // by parent
  std::optional<MaskSeed> seed;
};

// Null: no masked merge of these candidates is seen. Kept in the evidence; not for several threads
// at once.
std::shared_ptr<const MaskReading> read_masks(const Evidence& evidence);

// How much masks explain, however little that is: of the elements that tell, and of those that the
// suspect changed but no parent. 0 if nothing seems to be dropped, or chance does as well.
double masked_share(const Evidence& evidence);

// What is known of a masked merge whose recipe is not: for a report.
struct MaskEstimate {
  struct Parent {
    size_t model;
    double factor;  // of the changes that stay
    double density, gamma, epsilon;
  };
  MaskFamily family;
  size_t base;
  std::vector<Parent> parents;
  bool elected;
  double explained, by_chance;  // shares of the telling elements
  size_t tensors;
  uint64_t elements;  // telling ones
};

// Nothing if read_masks() sees nothing, or states explain too little.
std::optional<MaskEstimate> mask_estimate(const Evidence& evidence);

}  // namespace hieron
