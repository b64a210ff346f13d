// A suspect and the models it may have been made of, as everything in this folder sees them.
#pragma once

#include <memory>
#include <optional>
#include <vector>

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
  bool all_seeds = false;  // look for random masks under all 2^32 seeds of torch
};

}  // namespace hieron
