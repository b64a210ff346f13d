// The verdict's sentence, and what would prove it wrong, for the ways in which a merge is found.
#pragma once

#include <string>

#include "hieron/assay/blind.h"
#include "hieron/assay/masked.h"
#include "hieron/assay/verdict.h"

namespace hieron {

// Each fills `sentence` and `falsifiers`; the verdict's kind is decided.
void write_ends_sentence(const std::string& suspect, const MergeFacts& facts,
                         const FoundRecipe& recipe, const Replay& replay, Verdict& verdict);
void write_recipe_sentence(const std::string& suspect, const BlindFinding& finding,
                           Verdict& verdict);
void write_masks_sentence(const Candidates& given, const MaskedFinding& finding, Verdict& verdict);

}  // namespace hieron
