// YAML documents as plain trees with line numbers. Bounded: bytes, depth, and nodes after aliases
// are expanded, so that no small file becomes a large one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron::yaml {

inline constexpr size_t kMaxBytes = 1 << 20;
inline constexpr int kMaxDepth = 32;
inline constexpr size_t kMaxNodes = 100'000;
inline constexpr size_t kMaxDocuments = 256;

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
  bool quoted = false;         // a scalar in quotes, or a block of text
  int line = 0;                // from 1
  size_t nodes = 1;            // in this tree, aliases expanded
  std::vector<NodePtr> items;  // of a sequence
  std::vector<Entry> entries;  // of a mapping, in file order; "<<" is merged in

  const Node* find(std::string_view key) const;  // null if there is none, or it is null
};

// Duplicate keys and keys that are not scalars are refused. Text that was copied out of a web page
// is read as meant: CRLF, a byte-order mark, fences of backticks around it.
//
// The documents of a file, those that are empty left out; there is at least one. With `duplicates`,
// keys that stand twice do not end the reading: the first counts, and each of the others is a
// problem there.
struct Document {
  NodePtr root;  // never null, nor of kind kNull
  int line;      // where it begins: its "---", or 1
};
Result<std::vector<Document>> parse_all(std::string_view text, const std::string& file,
                                        std::vector<Error>* duplicates = nullptr);

// As above; a second document is refused.
Result<NodePtr> parse(std::string_view text, const std::string& file,
                      std::vector<Error>* duplicates = nullptr);

// What YAML 1.1 (as PyYAML reads it) and then Python's float() make of a scalar: 1e-5, +.5, 1_000,
// 0x10, 010 (octal). Nothing if it is no finite number.
std::optional<double> number(const Node& node);

// true, yes, on and their opposites, in any case, quoted or not.
std::optional<bool> boolean(const Node& node);

}  // namespace hieron::yaml
