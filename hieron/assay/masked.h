// Masked merges whose seed was not found: no replay, but the masks show whose changes were kept and
// how many of them. docs/recovery.md §8.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/blind.h"
#include "hieron/merge/traces/mask_reading.h"

namespace hieron {

struct MaskedFinding {
  MaskEstimate estimate;
  FoundRecipe recipe;                // of the family, with the masks' shares; its seed is missing
  std::vector<NamedDepth> controls;  // d16: share of the control that such masks explain
};

// Nothing: masks explain too little.
std::optional<MaskedFinding> find_masked(const Candidates& given, const Sample& sample,
                                         const Evidence& evidence,
                                         const std::vector<size_t>& controls,
                                         std::string_view experts);

// Is a mask seen that random numbers chose?
bool random_masks(const MaskEstimate& estimate);

// merge-with-changes, or nothing where a control is explained too.
BlindDecision decide_masked(const MaskedFinding& finding);

// "30 % of the changes of A (times 1.97) and 70 % of those of B (times .71), on the base C".
std::string masks_in_words(const Candidates& given, const MaskEstimate& estimate);

}  // namespace hieron
