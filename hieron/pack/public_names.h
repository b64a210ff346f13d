// What a pack may say about where its models were: nothing that tells who made it.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>

#include "hieron/walk/checkpoint.h"

namespace hieron {

// A hub's model as it was typed; a path's last component otherwise. One that is `taken` gets a
// number.
std::string public_name(const Checkpoint& checkpoint, const std::set<std::string>& taken);

// Without query, fragment and user: no signature, no token.
std::string public_url(std::string_view url);

// The text without the names of folders of this machine: the home folder, the current one, and
// those in which the folders of `models` lie. What lies below them keeps the rest of its path.
std::string without_this_machine(std::string text, std::span<const std::string> models);

}  // namespace hieron
