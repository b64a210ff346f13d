// One YAML document as a plain tree with line numbers. Bounded: bytes, depth, and nodes after
// aliases are expanded, so that no small file becomes a large one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron::yaml {

inline constexpr size_t kMaxBytes = 1 << 20;
inline constexpr int kMaxDepth = 32;
inline constexpr size_t kMaxNodes = 100'000;

struct Node;
using NodePtr = std::shared_ptr<const Node>;

enum class Kind : unsigned char { kNull, kScalar, kSequence, kMapping };

struct Entry {
  std::string key;
  int line;
  NodePtr value;  // never null
};

struct Node {
  Kind kind = Kind::kNull;
  std::string text;            // of a scalar
  int line = 0;                // from 1
  size_t nodes = 1;            // in this tree, aliases expanded
  std::vector<NodePtr> items;  // of a sequence
  std::vector<Entry> entries;  // of a mapping, in file order; "<<" is merged in

  const Node* find(std::string_view key) const;  // null if there is none, or it is null
};

// Duplicate keys, keys that are not scalars, and more than one document are refused. Text that was
// copied out of a web page is read as meant: CRLF, a byte-order mark, fences of backticks around
// it.
Result<NodePtr> parse(std::string_view text, const std::string& file);

}  // namespace hieron::yaml
