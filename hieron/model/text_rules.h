// The normalizer and the pre_tokenizer of a tokenizer.json, as functions.
//
//   normalizer      NFC NFD NFKC NFKD Lowercase Strip Prepend Replace Sequence
//   pre_tokenizer   ByteLevel Split Metaspace Digits Punctuation Whitespace WhitespaceSplit
//   Sequence
//
// Refused, as a clause: every other kind, by its name; a setting that is missing or of a wrong
// kind; a text that grows beyond kMaxTextBytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

inline constexpr size_t kMaxTextBytes = 16u << 20;

// A part of the text that is cut and merged by itself.
struct TextPiece {
  std::string text;
  bool first;  // begins where the whole text does
};

using Rewriting = std::function<Result<std::string>(std::string)>;
using Cutting = std::function<Result<std::vector<TextPiece>>(std::vector<TextPiece>)>;

// From the JSON of the two; "null": the text stays as it is. Valid UTF-8 in, valid UTF-8 out.
Result<Rewriting> parse_normalizer(std::string_view json);
Result<Cutting> parse_pre_tokenizer(std::string_view json);

}  // namespace hieron
