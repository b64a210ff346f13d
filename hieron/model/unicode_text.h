// What Unicode knows of text: patterns, normal forms, small letters, classes of characters.
//
// By way of ICU; texts are below 2 GB. Characters newer than its version (72: Unicode 15.0) are
// neither letters nor digits, marks or signs; to programs with newer tables they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

struct Stretch {
  size_t begin, end;  // in bytes
};

// A regular expression as the tokenizers library reads it: Oniguruma's dialect of Ruby. Immutable;
// threads may share it.
class Pattern {
 public:
  // Refused, as a clause: what is no regular expression, what ICU takes to mean something else
  // (\h, \v, (?m), …), and more than 64 KiB.
  static Result<Pattern> compile(std::string_view regex);

  // The stretches of a text in UTF-8 that match, from left to right, none of them empty. Refused,
  // as a clause: a pattern that takes more than a million steps, and 20 a byte, to find one of
  // them; the count is the same on every machine.
  Result<std::vector<Stretch>> matches(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

// A normal form as the tokenizers library makes it, by the tables of Unicode 9.0: newer characters
// stay as they are. Immutable; threads may share it.
class NormalForm {
 public:
  enum class Kind : uint8_t { kNfc, kNfd, kNfkc, kNfkd };
  static Result<NormalForm> make(Kind kind);

  Result<std::string> of(std::string_view text) const;

 private:
  struct Rule;
  std::shared_ptr<const Rule> rule_;
};

// Each character by itself: no Σ looks at what stands beside it.
std::string small_letters(std::string_view text);

// The character that begins at `at`, or ends before it, and the bytes it has. The text is valid
// UTF-8 and has such a character.
struct Character {
  char32_t code;
  size_t bytes;
};
Character character_at(std::string_view text, size_t at);
Character character_before(std::string_view text, size_t at);
void append_character(std::string& text, char32_t code);

bool is_white_space(char32_t code);
bool is_word(char32_t code);  // letters, marks, decimal digits, connectors, joiners
bool is_numeric(char32_t code);
bool is_punctuation(char32_t code);  // of Unicode 8.0, which the library has; ASCII's signs too

}  // namespace hieron
