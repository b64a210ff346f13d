#include "hieron/merge/module_pattern.h"

#include <bitset>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace hieron {
namespace {

constexpr size_t kMaxText = 1000;
constexpr int kMaxDepth = 4;  // of groups: bounds the work that nested repetitions can ask for
constexpr uint32_t kMaxCount = 20;
constexpr uint32_t kEndless = std::numeric_limits<uint32_t>::max();

using Characters = std::bitset<256>;
using Positions = std::vector<bool>;  // in the text matched: 0 … its length

}  // namespace

struct ModulePattern::Node {
  enum class Kind : uint8_t { kCharacters, kAll, kAny, kRepeat, kBegin, kEnd };
  Kind kind;
  Characters characters{};
  std::vector<Node> parts{};
  uint32_t least = 0, most = 0;

  // Where matches that start at `from` may end.
  Positions match(std::string_view text, const Positions& from) const;

 private:
  Positions repeat(std::string_view text, Positions from) const;
};

namespace {

using Node = ModulePattern::Node;
using Kind = Node::Kind;

void merge(Positions& into, const Positions& from) {
  for (size_t i = 0; i < into.size(); ++i) into[i] = into[i] || from[i];
}

// A recursive descent over the text; every function returns nothing on a text it does not take.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::optional<Node> whole() {
    auto node = alternatives(0);
    return node && at_ == text_.size() ? node : std::nullopt;
  }

 private:
  bool more() const { return at_ < text_.size(); }
  bool take(char c) {
    const bool there = more() && text_[at_] == c;
    at_ += there;
    return there;
  }

  std::optional<Node> alternatives(int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    Node any{.kind = Kind::kAny};
    do {
      auto part = sequence(depth);
      if (!part) return std::nullopt;
      any.parts.push_back(*std::move(part));
    } while (take('|'));
    return any;
  }

  std::optional<Node> sequence(int depth) {
    Node all{.kind = Kind::kAll};
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      auto part = atom(depth);
      if (part) part = repeated(*std::move(part));
      if (!part) return std::nullopt;
      all.parts.push_back(*std::move(part));
    }
    return all;
  }

  std::optional<Node> repeated(Node node) {
    uint32_t least = 1, most = 1;
    if (take('*')) {
      least = 0, most = kEndless;
    } else if (take('+')) {
      most = kEndless;
    } else if (take('?')) {
      least = 0;
    } else if (take('{')) {
      const auto low = number();
      if (!low) return std::nullopt;
      least = most = *low;
      if (take(',')) most = number().value_or(kEndless);
      if (!take('}') || most < least) return std::nullopt;
    } else {
      return node;
    }
    take('?');  // lazy: the same texts match
    Node out{.kind = Kind::kRepeat, .least = least, .most = most};
    out.parts.push_back(std::move(node));
    return out;
  }

  std::optional<uint32_t> number() {
    uint32_t value = 0;
    const size_t begin = at_;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9' && value <= kMaxCount) {
      value = 10 * value + static_cast<uint32_t>(text_[at_++] - '0');
    }
    if (at_ == begin || value > kMaxCount) return std::nullopt;
    return value;
  }

  std::optional<Node> atom(int depth) {
    if (take('(')) {
      if (take('?') && !take(':')) return std::nullopt;
      auto inside = alternatives(depth + 1);
      return inside && take(')') ? inside : std::nullopt;
    }
    if (take('^')) return Node{.kind = Kind::kBegin};
    if (take('$')) return Node{.kind = Kind::kEnd};
    Node one{.kind = Kind::kCharacters};
    if (take('.')) {
      one.characters.set();
    } else if (take('[')) {
      if (!bracket(one.characters)) return std::nullopt;
    } else if (take('\\')) {
      if (!escape(one.characters)) return std::nullopt;
    } else if (std::string_view("*+?{}]").contains(text_[at_])) {
      return std::nullopt;
    } else {
      one.characters.set(static_cast<unsigned char>(text_[at_++]));
    }
    return one;
  }

  bool escape(Characters& out) {
    if (!more()) return false;
    const char c = text_[at_++];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == 'd' || c == 'w') add_range('0', '9', out);
    if (c == 'w') {
      add_range('a', 'z', out);
      add_range('A', 'Z', out);
      out.set('_');
    }
    if (c == 's') out.set(' ').set('\t');
    if (!letter) out.set(static_cast<unsigned char>(c));
    return out.any();
  }

  bool bracket(Characters& out) {
    const bool inverse = take('^');
    while (more() && text_[at_] != ']') {
      const char low = text_[at_++];
      if (low == '\\') {
        Characters some;
        if (!escape(some)) return false;
        out |= some;
      } else if (at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']') {
        add_range(low, text_[at_ + 1], out);
        at_ += 2;
      } else {
        out.set(static_cast<unsigned char>(low));
      }
    }
    if (inverse) out.flip();
    return take(']') && out.any();
  }

  static void add_range(char low, char high, Characters& out) {
    for (unsigned c = static_cast<unsigned char>(low); c <= static_cast<unsigned char>(high); ++c) {
      out.set(c);
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Positions ModulePattern::Node::repeat(std::string_view text, Positions from) const {
  Positions reached(from.size(), false);
  for (uint32_t round = 0;; ++round) {
    if (round >= least) {
      const Positions before = reached;
      merge(reached, from);
      if (reached == before) return reached;
    }
    if (round == most) return reached;
    from = parts[0].match(text, from);
  }
}

Positions ModulePattern::Node::match(std::string_view text, const Positions& from) const {
  Positions to(from.size(), false);
  switch (kind) {
    case Kind::kCharacters:
      for (size_t i = 0; i < text.size(); ++i) {
        to[i + 1] = from[i] && characters[static_cast<unsigned char>(text[i])];
      }
      return to;
    case Kind::kAll:
      to = from;
      for (const Node& part : parts) to = part.match(text, to);
      return to;
    case Kind::kAny:
      for (const Node& part : parts) merge(to, part.match(text, from));
      return to;
    case Kind::kRepeat:
      return repeat(text, from);
    case Kind::kBegin:
      to.front() = from.front();
      return to;
    case Kind::kEnd:
      to.back() = from.back();
      return to;
  }
  return to;
}

std::optional<ModulePattern> ModulePattern::parse(std::string_view text) {
  if (text.empty() || text.size() > kMaxText) return std::nullopt;
  auto root = Parser(text).whole();
  if (!root) return std::nullopt;
  ModulePattern pattern;
  pattern.root_ = std::make_shared<const Node>(*std::move(root));
  return pattern;
}

bool ModulePattern::matches(std::string_view module) const {
  Positions from(module.size() + 1, false);
  from[0] = true;
  for (size_t i = 0; i < module.size(); ++i) from[i + 1] = module[i] == '.';
  return root_->match(module, from).back();
}

}  // namespace hieron
