// What every parser of an untrusted JSON file needs before it looks at the values. Used inside
// format only.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"

namespace hieron {

inline constexpr size_t kMaxJsonDepth = 16;

// The next step when a file breaks the rules of its format.
inline constexpr std::string_view kFetchAgain =
    "The file is damaged or was made to deceive; fetch it again from a source you trust.";

// A negative number anywhere outside the strings of a valid JSON text ("-0" included, which parsers
// report as 0)?
bool has_negative_number(std::string_view valid_json);

// A name that occurs more than once, if any. n log n for any names, chosen to deceive or not.
std::optional<std::string_view> repeated(std::span<const std::string_view> names);

// Appends `text` in quotes, escaped as serde_json and Python's json (ensure_ascii=False) do.
void append_json_string(std::string& out, std::string_view text);

}  // namespace hieron
