// Byte pair encoding: a word's characters are merged pair by pair, always the pair that was learnt
// first.   Sennrich, Haddow, Birch 2016; the tokenizers library's "BPE".
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/tokenizer.h"

namespace hieron {

struct BytePairSettings {
  std::string inner_prefix;            // of every character of a word but the first
  std::string end_suffix;              // of the last
  std::optional<std::string> unknown;  // the token of characters that are none
  bool fuse_unknown = false;           // one such token for several in a row
  bool byte_fallback = false;          // or rather <0xE2><0x82><0xAC>
  bool ignore_merges = false;          // a word that is a token needs no merging
};

// Immutable; threads may share it.
class BytePairs {
 public:
  using Merges = std::vector<std::pair<std::string_view, std::string_view>>;  // in learnt order

  // Refused, as a clause: a merge of tokens, or into a token, that the vocabulary lacks.
  static Result<BytePairs> make(std::shared_ptr<const Tokenizer> tokenizer,
                                BytePairSettings settings, const Merges& merges);

  // Appends the ids of a word. Characters that are no token vanish if no token is named for them;
  // one that is named but not there is refused, as a clause. O(n log n).
  Status append(std::string_view word, std::vector<uint32_t>& ids) const;

 private:
  struct Merge {
    uint64_t pair;  // the two ids
    uint32_t rank, id;
  };
  struct Symbol {
    uint32_t id;
    uint32_t before, after;  // its neighbours; kNone: there is none
    bool merged_away = false;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  std::optional<uint32_t> id(std::string_view text) const;
  const Merge* merge_of(uint32_t left, uint32_t right) const;
  Result<std::vector<Symbol>> symbols(std::string_view word) const;
  bool append_bytes(std::string_view text, std::vector<Symbol>& symbols) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  BytePairSettings settings_;
  std::optional<uint32_t> unknown_;
  std::array<std::optional<uint32_t>, 256> bytes_;
  std::vector<Merge> merges_;  // by pair
};

}  // namespace hieron
