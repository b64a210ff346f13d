// A merge of which one input is itself a merge that nobody published. docs/recovery.md §10.
//
// What the other input leaves of the suspect, s − w·t, is nearly (1 − w) times the inner merge: it
// takes the suspect's place, and whatever the methods make of it is merged with t and compared with
// the suspect itself.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hieron/recover/recover.h"

namespace hieron {

struct Nested {
  Tried inner, outer;  // of the outer's inputs one is the model number `given.models.size()`
  std::shared_ptr<const Plan> plan;  // of the outer merge
  std::vector<TellingCount> scores;  // of the models asked for, as Trial::score_of
};

// Nothing: no such recipe reproduces more of the probes than `least`. `others`: models, such as
// controls, of which it is asked how much the same recipe reproduces.
std::optional<Nested> recover_nested(const Candidates& given, const Evidence& evidence,
                                     double least, std::span<const size_t> others);

// Two documents; refs[m]: how each model is named.
std::string nested_yaml(const Nested& nested, std::span<const std::string> refs,
                        std::string_view experts);

}  // namespace hieron
