// Changes to a JSON text that leave all the rest of it as it is: order, spacing, numbers of any
// length. For tokenizer files, of which a merge changes a few lines in megabytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/error.h"

namespace hieron::json_text {

// Is it JSON, and an object? `file` is for the message.
Status check_object(std::string_view text, const std::string& file);

// All that follows wants a text that is valid. Views are into that text.
struct Member {
  std::string_view key;    // with its quotes
  std::string_view value;  // of any kind, as written
};
std::vector<Member> members(std::string_view object);
std::vector<std::string_view> elements(std::string_view array);

// The value of a key written plainly, without escapes.
std::optional<std::string_view> find(std::string_view object, std::string_view key);

std::string quoted(std::string_view text);     // as Python's json writes it, ensure_ascii=False
std::string unquoted(std::string_view value);  // of a string with its quotes

// Replacements in one text, in any order, not overlapping.
class Edits {
 public:
  explicit Edits(std::string_view text) : text_(text) {}
  void replace(std::string_view part, std::string with);  // `part` is a view into the text
  void remove(std::string_view part) { replace(part, {}); }
  // object[key] = value, where the object is a view into the text; a new key goes to the end.
  void set(std::string_view object, std::string_view key, std::string value);
  bool empty() const { return edits_.empty(); }
  std::string apply() &&;

 private:
  struct Edit {
    size_t at, bytes;
    std::string with;
  };
  std::string_view text_;
  std::vector<Edit> edits_;
};

// A container of these members or elements, laid out as `like` is: one a line if that is.
std::string container(std::string_view like, const std::vector<std::string>& parts);

}  // namespace hieron::json_text
