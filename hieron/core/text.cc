#include "hieron/core/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

namespace hieron {
namespace {

__extension__ using Wide = unsigned __int128;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Bytes in one unit ("", "b", "k", "kb", "kib", ...), lower case; 0 if there is no such unit.
uint64_t unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  const size_t power = std::string_view("kmgt").find(unit[0]);
  if (power == std::string_view::npos) return 0;
  const std::string_view rest = unit.substr(1);
  const uint64_t step = rest == "ib" ? 1024 : rest.empty() || rest == "b" ? 1000 : 0;
  uint64_t bytes = step;
  for (size_t i = 0; i < power; ++i) bytes *= step;
  return bytes;
}

std::unexpected<Error> not_a_size(std::string_view text) {
  return usage_error(
      fmt::format("\"{}\" is not a size; write a number with an optional unit, such as 4096, "
                  "64KiB, 1.5MB or 5GB.",
                  printable(text)));
}

// One character of a text, or one byte that is not part of any.
struct Character {
  uint32_t code_point;
  size_t bytes;
  bool valid;
};

// Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const Character invalid{lead, 1, false};
  if (lead < 0x80) return {lead, 1, true};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return invalid;
  uint32_t code_point = lead & (0xFFu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return invalid;
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<uint32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
  if (code_point < kSmallest[bytes] || code_point > 0x10FFFF) return invalid;
  if (code_point >= 0xD800 && code_point <= 0xDFFF) return invalid;
  return {code_point, bytes, true};
}

bool control_or_bidi(uint32_t c) {
  const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
  const bool bidi = c == 0x61C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
                    (c >= 0x2066 && c <= 0x2069);
  return control || bidi || c == 0xFEFF;
}

std::string shown(const Character& character, std::string_view bytes) {
  if (!character.valid || (character.code_point < 0x80 && control_or_bidi(character.code_point))) {
    return fmt::format("\\x{:02x}", character.code_point);
  }
  if (control_or_bidi(character.code_point))
    return fmt::format("\\u{{{:x}}}", character.code_point);
  return std::string(bytes);
}

std::string joined(std::span<const std::string> pieces) {
  return std::accumulate(pieces.begin(), pieces.end(), std::string());
}

// Keeps as many whole pieces at both ends as fit beside an ellipsis.
std::string cut_in_the_middle(std::span<const std::string> pieces, size_t limit) {
  constexpr std::string_view kEllipsis = "…";
  const size_t room = limit > kEllipsis.size() ? limit - kEllipsis.size() : 0;
  size_t head = 0, tail = pieces.size(), used = 0;
  while (head < tail && used + pieces[head].size() <= (room + 1) / 2) used += pieces[head++].size();
  while (tail > head && used + pieces[tail - 1].size() <= room) used += pieces[--tail].size();
  return joined(pieces.first(head)) + std::string(kEllipsis) + joined(pieces.subspan(tail));
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  size_t at = 0;
  Wide digits = 0, scale = 1;  // the number is digits / scale
  bool any = false, fraction = false;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !fraction)); ++at) {
    if (text[at] == '.') {
      fraction = true;
      continue;
    }
    any = true;
    digits = digits * 10 + static_cast<unsigned>(text[at] - '0');
    if (fraction) scale *= 10;
    if (digits > UINT64_MAX || scale > UINT64_MAX / 10) return not_a_size(text);
  }
  if (at < text.size() && text[at] == ' ') ++at;
  std::string unit(text.substr(at));
  std::ranges::transform(unit, unit.begin(), lower);
  const uint64_t bytes_per_unit = unit_bytes(unit);
  if (!any || bytes_per_unit == 0) return not_a_size(text);
  const Wide bytes = digits * bytes_per_unit / scale;
  if (bytes > INT64_MAX) return not_a_size(text);
  return static_cast<uint64_t>(bytes);
}

std::string show_bytes(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::array<std::string_view, 6> kUnits{"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.5) {  // would be shown as 1000
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g} {}", value, kUnits[unit]);
}

std::string with_commas(uint64_t n) {
  std::string digits = std::to_string(n);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string printable(std::string_view name, size_t limit) {
  std::vector<std::string> pieces;
  size_t total = 0;
  while (!name.empty()) {
    const Character character = first_character(name);
    pieces.push_back(shown(character, name.substr(0, character.bytes)));
    total += pieces.back().size();
    name.remove_prefix(character.bytes);
  }
  return total <= limit ? joined(pieces) : cut_in_the_middle(pieces, limit);
}

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (!character.valid) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

bool has_control_or_bidi(std::string_view text) {
  const auto plain = [](char c) { return c >= 0x20 && c < 0x7F; };
  text.remove_prefix(static_cast<size_t>(std::ranges::find_if_not(text, plain) - text.begin()));
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.valid && control_or_bidi(character.code_point)) return true;
    text.remove_prefix(character.bytes);
  }
  return false;
}

int edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment: three rows of the usual table, d(i-2), d(i-1), d(i).
  std::vector<int> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    before.swap(above);
    above.swap(row);
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substituted = above[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates,
                         int at_most) {
  std::string_view best;
  for (std::string_view candidate : candidates) {
    const int distance = edit_distance(word, candidate);
    if (distance > at_most) continue;
    best = candidate;
    at_most = distance - 1;  // the first of the nearest wins
  }
  return best;
}

std::string shortest(double value) { return fmt::format("{}", value); }

}  // namespace hieron
