// Text that users read and write: sizes, counts, near-misses, and names made safe to print.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "hieron/core/error.h"

namespace hieron {

// "64KiB", "5GB", "1.5 MB", "5B" (bytes), "4096". Suffixes: B, K/M/G/T with optional B (10^3n) or
// iB (2^10n).
Result<uint64_t> parse_size(std::string_view text);
std::string show_bytes(uint64_t bytes);  // "1.9 GB", three significant digits, decimal units
std::string with_commas(uint64_t n);     // "9,663,676,416"

// A name from a file, safe for a terminal: control, bidi and invalid UTF-8 bytes become \xNN or
// \u{N}; longer than `limit` bytes: cut in the middle with "…".
std::string printable(std::string_view name, size_t limit = 120);
bool valid_utf8(std::string_view text);
bool has_control_or_bidi(
    std::string_view text);  // C0, C1, U+202A–202E, U+2066–2069, U+200E/F, U+061C, BOM

// Levenshtein distance (transposition counts one), and the candidate within `at_most` of `word`, if
// any.
int edit_distance(std::string_view a, std::string_view b);
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates,
                         int at_most = 2);

// The shortest decimal that reads back as exactly this double ("0.6", "1e-05", "-0.3").
std::string shortest(double value);

}  // namespace hieron
