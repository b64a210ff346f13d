// The regular expressions by which an adapter's config names modules ("layers\.\d+\.mlp",
// "^model.*q_proj"), matched in polynomial time: they come with the file.
//
// Literals, . \d \w \s, [a-z], (…), |, * + ? {n,m}, ^ and $; no look-around, no back-references.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

namespace hieron {

class ModulePattern {
 public:
  // Nothing if the text is not such an expression, or is longer than 1,000 characters.
  static std::optional<ModulePattern> parse(std::string_view text);
  // PEFT's rule: the pattern is the whole of `module`, or all of it after some dot.
  bool matches(std::string_view module) const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;
};

}  // namespace hieron
