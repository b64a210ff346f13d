// One look a file: each adds the tells that it sees.
#pragma once

#include <span>

#include "hieron/model/tells/small_files.h"

namespace hieron {

void look_at_files(const SmallFiles& files, Findings& found);     // what lies in the folder
void look_at_metadata(const SmallFiles& files, Findings& found);  // of headers and index
void look_at_config(const SmallFiles& files, Findings& found);    // leftover names
void look_at_writer(const SmallFiles& files, Findings& found);    // order and size of shards
void look_at_card(const SmallFiles& files, Findings& found);      // what the card claims
void look_at_history(const SmallFiles& files, Findings& found);   // other cached commits' cards
void look_at_identity(const SmallFiles& files, Findings& found);  // whom it says it is
void look_at_licences(const SmallFiles& files, Findings& found);  // texts and required notices

void compare_settings(const SmallFiles& suspect, std::span<const SmallFiles> others,
                      Findings& found);  // config, tokenizer, chat template
void compare_layouts(const SmallFiles& suspect, std::span<const SmallFiles> others,
                     Findings& found);  // which tensors lie in which shard
void compare_cards(const SmallFiles& suspect, std::span<const SmallFiles> others, Findings& found);
void compare_licences(const SmallFiles& suspect, std::span<const SmallFiles> others,
                      Findings& found);

// Refs of the models numbered, quoted for a sentence: "A, B and 3 more".
std::string names_of(std::span<const SmallFiles> models, std::span<const size_t> numbers);

}  // namespace hieron
