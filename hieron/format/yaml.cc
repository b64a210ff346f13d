#include "hieron/format/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <sstream>

#include "hieron/core/text.h"

namespace hieron::yaml {
namespace {

struct Refusal {
  std::string clause;
  int line;
};

int line_of(const YAML::Mark& mark) { return mark.line + 1; }

Refusal too_many_nodes(int line) {
  return {
      fmt::format("it has more than {} values once aliases are expanded", with_commas(kMaxNodes)),
      line};
}

bool is_null(std::string_view text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

// "bfloat16`", at the end of what was copied out of running text.
std::string without_stray_backtick(std::string_view text) {
  if (text.ends_with('`') && text.find('`') + 1 == text.size()) text.remove_suffix(1);
  return std::string(text);
}

// yaml-cpp's words for what it cannot read, in ours.
std::string clause_of(const std::string& message) {
  constexpr std::string_view kAdvice =
      "is there text around the recipe, or a line indented otherwise than its neighbours?";
  if (message == YAML::ErrorMsg::MAP_VALUE) {
    return fmt::format("not YAML: a \":\" stands where no key can be; {}", kAdvice);
  }
  if (message == YAML::ErrorMsg::END_OF_MAP || message == YAML::ErrorMsg::END_OF_SEQ ||
      message == YAML::ErrorMsg::MAP_KEY) {
    return fmt::format("not YAML: this line does not go on what stands above it; {}", kAdvice);
  }
  return "not YAML: " + printable(message);
}

// Builds the tree from the parser's events. Throws Refusal; the caller is in this file.
class TreeBuilder final : public YAML::EventHandler {
 public:
  // `duplicates`: as in parse_all; null: the first ends the reading.
  explicit TreeBuilder(std::vector<Refusal>* duplicates) : duplicates_(duplicates) {}

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = std::make_shared<Node>();
    node->line = line_of(mark);
    remember(anchor, node);
    place(std::move(node), line_of(mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto known = anchors_.find(anchor);
    if (known == anchors_.end())
      throw Refusal{"an alias stands inside its own anchor", line_of(mark)};
    place(known->second, line_of(mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto node = std::make_shared<Node>();
    node->kind = tag != "!" && is_null(value) ? Kind::kNull : Kind::kScalar;
    node->quoted = tag == "!";
    node->text = node->quoted ? value : without_stray_backtick(value);
    node->line = line_of(mark);
    remember(anchor, node);
    place(std::move(node), line_of(mark));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Kind::kSequence, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Kind::kMapping, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  NodePtr root() const { return root_; }
  const YAML::Mark& start() const { return start_; }

 private:
  struct Open {
    std::shared_ptr<Node> node;
    YAML::anchor_t anchor;
    std::optional<std::pair<std::string, int>> key;  // a key that waits for its value
    std::vector<NodePtr> merges;                     // values of "<<"
  };

  void remember(YAML::anchor_t anchor, const NodePtr& node) {
    if (anchor != 0) anchors_[anchor] = node;
  }

  void open(Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (open_.size() >= static_cast<size_t>(kMaxDepth)) {
      throw Refusal{fmt::format("lists and mappings are nested more than {} deep", kMaxDepth),
                    line_of(mark)};
    }
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->line = line_of(mark);
    open_.push_back({std::move(node), anchor, std::nullopt, {}});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    for (const NodePtr& merged : done.merges) merge_in(*done.node, *merged);
    remember(done.anchor, done.node);
    const int line = done.node->line;
    place(std::move(done.node), line);
  }

  // Puts a finished node where it belongs: the root, a list, or a mapping as key or value.
  void place(NodePtr node, int line) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    parent.node->nodes += node->nodes;
    if (parent.node->nodes > kMaxNodes) {
      throw too_many_nodes(line);
    }
    if (parent.node->kind == Kind::kSequence) {
      parent.node->items.push_back(std::move(node));
    } else if (!parent.key) {
      if (node->kind == Kind::kSequence || node->kind == Kind::kMapping) {
        throw Refusal{"a key is a list or a mapping", line};
      }
      parent.key = {node->text, line};
    } else {
      add_entry(parent, std::move(node));
    }
  }

  void add_entry(Open& parent, NodePtr value) const {
    auto [key, line] = *std::move(parent.key);
    parent.key.reset();
    if (key == "<<") {
      parent.merges.push_back(std::move(value));
      return;
    }
    for (const Entry& entry : parent.node->entries) {
      if (entry.key != key) continue;
      Refusal refusal{
          fmt::format("the key \"{}\" stands twice in one mapping (first in line {}); remove one",
                      printable(key), entry.line),
          line};
      if (!duplicates_) throw refusal;
      duplicates_->push_back(std::move(refusal));
      return;
    }
    parent.node->entries.push_back({std::move(key), line, std::move(value)});
  }

  // YAML 1.1 merge key: entries of the merged mappings, where the mapping has none of that name.
  static void merge_in(Node& node, const Node& merged) {
    if (merged.kind == Kind::kSequence) {
      for (const NodePtr& item : merged.items) merge_in(node, *item);
    }
    for (const Entry& entry : merged.entries) {
      bool known = false;
      for (const Entry& own : node.entries) known = known || own.key == entry.key;
      if (!known) node.entries.push_back(entry);
    }
  }

  std::vector<Refusal>* const duplicates_;
  std::map<YAML::anchor_t, NodePtr> anchors_;
  std::vector<Open> open_;
  NodePtr root_;
  YAML::Mark start_ = YAML::Mark::null_mark();
};

// Line numbers stay: what is taken out leaves an empty line.
std::string without_wrapping(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t ink = line.find_first_not_of(" \t");
    const bool fence =
        ink != std::string_view::npos && (line.substr(ink).starts_with("```") ||
                                          line.find_first_not_of("` \t") == std::string_view::npos);
    if (!fence) clean += line;
    clean += '\n';
  }
  return clean;
}

// Throws Refusal, or what yaml-cpp throws.
std::vector<Document> all_documents(const std::string& text, std::vector<Refusal>* duplicates) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  std::vector<Document> documents;
  int last_start = -1;
  size_t nodes = 0;
  while (true) {
    TreeBuilder builder(duplicates);
    if (!parser.HandleNextDocument(builder)) return documents;
    // At a stray ",", "]" or "}" yaml-cpp gives empty documents for ever, all from the same place.
    if (builder.start().pos == last_start) {
      throw Refusal{"not YAML: a \",\", \"]\" or \"}\" stands where no list or mapping is open",
                    line_of(builder.start())};
    }
    last_start = builder.start().pos;
    const NodePtr root = builder.root();
    if (!root || root->kind == Kind::kNull) continue;
    nodes += root->nodes;
    if (nodes > kMaxNodes) throw too_many_nodes(root->line);
    if (documents.size() == kMaxDocuments) {
      throw Refusal{fmt::format("more than {} documents", kMaxDocuments), root->line};
    }
    documents.push_back({root, documents.empty() ? 1 : line_of(builder.start())});
  }
}

bool between_digits(std::string_view text, char mark) {
  const auto digit = [&](size_t i) {
    return i < text.size() && std::isxdigit(static_cast<unsigned char>(text[i])) != 0 &&
           (text[i] <= '9' || text.starts_with("0x"));
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == mark && (i == 0 || !digit(i - 1) || !digit(i + 1))) return false;
  }
  return true;
}

std::optional<double> decimal(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

std::optional<double> based_or_decimal(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (text.starts_with("0x")) {
    base = 16;
    digits.remove_prefix(2);
  } else if (text.starts_with("0b")) {
    base = 2;
    digits.remove_prefix(2);
  } else if (text.size() > 1 && text.find_first_not_of("01234567") == std::string_view::npos &&
             text.starts_with('0')) {
    base = 8;
  }
  if (base == 10) return decimal(text);
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return {};
  return static_cast<double>(value);
}

std::unexpected<Error> refuse_at(const std::string& file, int line, std::string_view clause) {
  return refuse(
      fmt::format("{}, line {}: {}{}", file, line, clause, clause.ends_with('?') ? "" : "."), file,
      {}, static_cast<uint64_t>(line));
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return entry.value->kind == Kind::kNull ? nullptr : entry.value.get();
  }
  return nullptr;
}

Result<std::vector<Document>> parse_all(std::string_view text, const std::string& file,
                                        std::vector<Error>* duplicates) {
  if (text.size() > kMaxBytes) {
    return refuse(fmt::format("{}: the recipe has {} bytes, more than the {} that are read; it is "
                              "probably not a recipe.",
                              file, with_commas(text.size()), with_commas(kMaxBytes)),
                  file);
  }
  if (!valid_utf8(text) || text.find('\0') != std::string_view::npos) {
    return refuse(fmt::format("{}: the recipe is not UTF-8 text; save it as UTF-8.", file), file);
  }
  try {
    std::vector<Refusal> twice;
    auto documents = all_documents(without_wrapping(text), duplicates ? &twice : nullptr);
    if (documents.empty()) return refuse(fmt::format("{}: the recipe is empty.", file), file);
    for (const Refusal& refusal : twice) {
      duplicates->push_back(refuse_at(file, refusal.line, refusal.clause).error());
    }
    return documents;
  } catch (const Refusal& refusal) {
    return refuse_at(file, refusal.line, refusal.clause);
  } catch (const YAML::Exception& e) {
    return refuse_at(file, e.mark.is_null() ? 1 : line_of(e.mark), clause_of(e.msg));
  } catch (const std::exception& e) {
    return refuse_at(file, 1, fmt::format("not YAML: {}", printable(e.what())));
  }
}

Result<NodePtr> parse(std::string_view text, const std::string& file,
                      std::vector<Error>* duplicates) {
  HIERON_TRY(const std::vector<Document> documents, parse_all(text, file, duplicates));
  if (documents.size() > 1) {
    return refuse_at(file, documents[1].line,
                     "a second document begins here, and this is a place for one recipe; "
                     "`hieron merge` takes a file of several");
  }
  return documents.front().root;
}

std::optional<double> number(const Node& node) {
  if (node.kind != Kind::kScalar) return {};
  std::string text = node.text;
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.erase(0, 1);
  if (text.empty() || text.front() == '-' || !between_digits(text, '_')) return {};
  std::erase(text, '_');
  const auto magnitude = node.quoted ? decimal(text) : based_or_decimal(text);
  if (!magnitude) return {};
  return negative ? -*magnitude : *magnitude;
}

std::optional<bool> boolean(const Node& node) {
  if (node.kind != Kind::kScalar) return {};
  std::string low = node.text;
  std::ranges::transform(low, low.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (low == "true" || low == "yes" || low == "on") return true;
  if (low == "false" || low == "no" || low == "off") return false;
  return {};
}

}  // namespace hieron::yaml
