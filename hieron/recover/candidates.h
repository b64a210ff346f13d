// A suspect and the models it may have been made of, as everything in this folder sees them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/model/roles.h"
#include "hieron/walk/alignment.h"
#include "hieron/walk/walk.h"

namespace hieron {

struct Candidates {
  const Alignment& alignment;  // model 0 is the suspect
  // By model number, as in the alignment; those that are no candidates may be null.
  std::vector<std::shared_ptr<const Checkpoint>> models;
  const RoleTable& roles;
  std::vector<size_t> candidates;  // may be inputs, the base among them
  std::optional<size_t> base;
  WalkOptions walk;
  Seeds seeds = Seeds::kPopular;
  Selection selection{};  // what of them may be read
};

}  // namespace hieron
