// A single model that was edited, not merged: the decision, and how it is said.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hieron/assay/result.h"
#include "hieron/edit/edit.h"

namespace hieron {

struct EditDecision {
  std::optional<EditFinding> finding;  // nothing: no edit of one of the models is proven
  std::vector<std::string> reasons;    // sentences: what was seen and is not proven
};

// Controls are looked at as if they had been edited: if one explains the suspect as well as a model
// offered does, the edit proves nothing.
Result<EditDecision> decide_edit(const EditCase& given, const std::vector<size_t>& models,
                                 const std::vector<size_t>& controls, EditSearch search);

Verdict edit_verdict(const EditFinding& finding, const Alignment& alignment);
Edit edit_figures(const EditFinding& finding, const Alignment& alignment);

}  // namespace hieron
