// What masks leave of a merge: every element of the suspect is the base plus one of a few
// combinations of the parents' changes, its state (states.h). docs/recovery.md §8.
//
// No method is guessed: the parents and their factors come from matching pursuit, the mixing and
// the election from what explains more. Then each element says of each parent whether its change
// was kept.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "hieron/merge/evidence.h"
#include "hieron/merge/traces/element_states.h"
#include "hieron/merge/traces/states.h"

namespace hieron {

struct StateTensor {
  std::shared_ptr<const WholeTensor> whole;
  std::vector<double> factors, errors;       // a_k and their standard errors, by parent
  std::vector<std::vector<uint8_t>> labels;  // MaskLabel, by parent and element
  // Elements where some parent's change is many cells wide; those in one of the states; and how
  // many would be if they had one another's changes.
  uint64_t telling = 0, explained = 0, by_chance = 0;
};

struct StateTable {
  size_t base = 0;
  std::vector<size_t> parents;  // model numbers, ascending
  States states;
  std::optional<bool> elected;  // nothing: no element tells
  bool one_rounding = false;    // the cells hold the exact combinations
  bool inputs_rounded = false;  // to the suspect's dtype, before anything else
  std::vector<StateTensor> tensors;

  double explained() const;
  double by_chance() const;
};

// The best first; a second one where another base explains nearly as much. None: no candidate's
// changes are seen, alone or added up. Costs about .2 s for four candidates and six probes of
// 20,000 elements.
std::vector<StateTable> find_states(const Evidence& evidence);

// The states of another tensor of the same merge.
StateTensor read_states(const StateTable& table, const std::shared_ptr<const WholeTensor>& whole);

}  // namespace hieron
