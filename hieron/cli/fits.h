// What fits instead of what was declared, for people and for programs: the end of `verify`'s
// answer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "hieron/assay/declared.h"

namespace hieron {

// `what`: "recipe of its models", "way of adding it".
std::string fits_text(const FitSearch& search, std::string_view what);
nlohmann::ordered_json fits_json(const FitSearch& search);    // an object, or null
nlohmann::ordered_json search_json(const FitSearch& search);  // what was tried

}  // namespace hieron
