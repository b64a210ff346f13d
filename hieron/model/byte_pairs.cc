#include "hieron/model/byte_pairs.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "hieron/core/text.h"
#include "hieron/model/unicode_text.h"

namespace hieron {
namespace {

uint64_t pair_of(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

// A merge that was possible when it was put down.
struct Candidate {
  uint32_t rank, place, id;
  // Of merges learnt at the same time the leftmost comes first.
  bool operator>(const Candidate& other) const {
    return std::pair(rank, place) > std::pair(other.rank, other.place);
  }
};

}  // namespace

Result<BytePairs> BytePairs::make(std::shared_ptr<const Tokenizer> tokenizer,
                                  BytePairSettings settings, const Merges& merges) {
  BytePairs made;
  made.tokenizer_ = std::move(tokenizer);
  made.settings_ = std::move(settings);
  const auto need = [&](std::string_view token) -> Result<uint32_t> {
    if (const auto found = made.id(token)) return *found;
    return refuse(fmt::format("the vocabulary lacks the token \"{}\", which the model needs",
                              printable(token, 60)));
  };
  made.merges_.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    HIERON_TRY(const uint32_t first, need(left));
    HIERON_TRY(const uint32_t second, need(right));
    const size_t prefix = std::min(made.settings_.inner_prefix.size(), right.size());
    HIERON_TRY(const uint32_t both, need(std::string(left).append(right.substr(prefix))));
    const auto rank = static_cast<uint32_t>(made.merges_.size());
    made.merges_.push_back({pair_of(first, second), rank, both});
  }
  // Of a pair that is there twice the last counts.
  std::ranges::sort(made.merges_, [](const Merge& a, const Merge& b) {
    return std::pair(a.pair, b.rank) < std::pair(b.pair, a.rank);
  });
  const auto twice = std::ranges::unique(made.merges_, {}, &Merge::pair);
  made.merges_.erase(twice.begin(), twice.end());
  if (made.settings_.unknown) made.unknown_ = made.id(*made.settings_.unknown);
  for (size_t byte = 0; byte < made.bytes_.size(); ++byte) {
    made.bytes_[byte] = made.id(fmt::format("<0x{:02X}>", byte));
  }
  return made;
}

// The model knows nothing of tokens that were added outside its vocabulary.
std::optional<uint32_t> BytePairs::id(std::string_view text) const {
  const std::optional<uint32_t> found = tokenizer_->id(text);
  if (!found) return std::nullopt;
  const AddedToken* added = tokenizer_->added_token(text);
  return added && !added->in_vocabulary ? std::nullopt : found;
}

const BytePairs::Merge* BytePairs::merge_of(uint32_t left, uint32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const auto found = std::ranges::lower_bound(merges_, pair, {}, &Merge::pair);
  return found == merges_.end() || found->pair != pair ? nullptr : &*found;
}

bool BytePairs::append_bytes(std::string_view text, std::vector<Symbol>& symbols) const {
  const auto byte_id = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
  if (!std::ranges::all_of(text, [&](char c) { return byte_id(c).has_value(); })) return false;
  for (const char c : text) symbols.push_back({.id = *byte_id(c), .before = 0, .after = 0});
  return true;
}

Result<std::vector<BytePairs::Symbol>> BytePairs::symbols(std::string_view word) const {
  std::vector<Symbol> found;
  size_t unknown = 0;  // tokens for characters that are none, to be put down before the next one
  const auto put_unknown = [&] {
    for (; unknown > 0; --unknown) found.push_back({.id = *unknown_, .before = 0, .after = 0});
  };
  for (size_t at = 0; at < word.size();) {
    const size_t bytes = character_at(word, at).bytes;
    std::string text(word.substr(at, bytes));
    if (at > 0) text.insert(0, settings_.inner_prefix);
    at += bytes;
    if (at == word.size()) text += settings_.end_suffix;
    if (const auto known = id(text)) {
      put_unknown();
      found.push_back({.id = *known, .before = 0, .after = 0});
      continue;
    }
    if (settings_.byte_fallback && append_bytes(text, found)) continue;
    if (!settings_.unknown) continue;
    if (!unknown_) {
      return refuse(
          fmt::format("\"{}\" is no token, and \"{}\", which would stand for it, is not in "
                      "the vocabulary",
                      printable(text), printable(*settings_.unknown, 60)));
    }
    if (!settings_.fuse_unknown) put_unknown();
    unknown = 1;
  }
  put_unknown();
  return found;
}

void BytePairs::merge_all(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](uint32_t left, uint32_t right) {
    const Merge* merge = merge_of(symbols[left].id, symbols[right].id);
    if (merge) queue.push({merge->rank, left, merge->id});
  };
  const auto count = static_cast<uint32_t>(symbols.size());
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i].before = i == 0 ? kNone : i - 1;
    symbols[i].after = i + 1 == count ? kNone : i + 1;
    if (i + 1 < count) consider(i, i + 1);
  }
  for (; !queue.empty();) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.place];
    if (left.merged_away || left.after == kNone) continue;
    Symbol& right = symbols[left.after];
    const Merge* still = merge_of(left.id, right.id);
    if (!still || still->id != top.id) continue;  // one of the two has changed since
    left.id = top.id;
    left.after = right.after;
    right.merged_away = true;
    if (left.after != kNone) symbols[left.after].before = top.place;
    if (left.before != kNone) consider(left.before, top.place);
    if (left.after != kNone) consider(top.place, left.after);
  }
}

Status BytePairs::append(std::string_view word, std::vector<uint32_t>& ids) const {
  if (settings_.ignore_merges) {
    if (const auto whole = id(word)) {
      ids.push_back(*whole);
      return {};
    }
  }
  HIERON_TRY(std::vector<Symbol> merged, symbols(word));
  merge_all(merged);
  for (const Symbol& symbol : merged) {
    if (!symbol.merged_away) ids.push_back(symbol.id);
  }
  return {};
}

}  // namespace hieron
