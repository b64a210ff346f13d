// Text to token ids, as transformers' tokenizers do it with a tokenizer.json: added tokens are cut
// out of the text, what lies between them is normalised, cut into words and merged.
//
// What can be encoded: models of kind BPE with the rules of text_rules.h, that is GPT-2's, Llama's,
// Mistral's, Qwen's and their like. WordPiece, WordLevel and Unigram are refused, as are folders
// with only vocab.json or tokenizer.model.
//
// tokenizer.json holds. Where transformers 5 builds a tokenizer of its own from the vocabulary
// because tokenizer_config.json names a class (LlamaTokenizer, …), results may differ by the space
// that is put before a text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"
#include "hieron/model/byte_pairs.h"
#include "hieron/model/text_rules.h"
#include "hieron/model/tokenizer.h"

namespace hieron {

// Are those of the post_processor (<s> in front, …) put around the text?
enum class SpecialTokens : uint8_t { kLeaveOut, kAdd };

// Added tokens, to be found in a text.
class AddedTokens {
 public:
  struct Content {
    std::string text;
    const AddedToken* token;
  };
  explicit AddedTokens(std::vector<Content> contents);

  // A stretch of the text: a token, with the white space that it takes in, or (null) what lies
  // between two.
  struct Found {
    size_t begin, end;
    const AddedToken* token;
  };
  // Of tokens that begin at one place the longest holds.
  std::vector<Found> find(std::string_view text) const;

 private:
  const Content* longest_at(std::string_view text, size_t at) const;
  std::vector<Content> contents_;  // by text
};

// Immutable; threads may share it.
class Encoder {
 public:
  // Refused: texts that are no valid UTF-8 or larger than kMaxTextBytes; what BytePairs refuses.
  Result<std::vector<uint32_t>> encode(
      std::string_view text, SpecialTokens special_tokens = SpecialTokens::kLeaveOut) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // The token that begins a text, as tokenizer_config.json or special_tokens_map.json names it.
  const std::optional<std::string>& bos() const { return bos_; }

 private:
  friend class EncoderParser;
  struct Part {
    std::string text;
    bool first;               // begins where the text does
    const AddedToken* token;  // null: text
  };
  Encoder(std::shared_ptr<const Tokenizer> tokenizer, BytePairs model)
      : tokenizer_(std::move(tokenizer)), model_(std::move(model)) {}
  Result<std::vector<Part>> parts(std::string_view text) const;
  Status append(const Part& part, std::vector<uint32_t>& ids) const;
  std::unexpected<Error> in_file(const Error& clause) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  BytePairs model_;
  std::optional<std::string> bos_;
  AddedTokens raw_{{}}, normalised_{{}};
  Rewriting normalise_;
  Cutting cut_;
  std::vector<uint32_t> before_, after_;  // special tokens
  std::string no_special_tokens_;         // why they cannot be added; empty if they can
};

// The encoder of a model's folder. Refused, in one sentence: a folder without tokenizer.json, a
// kind that is not encoded here, a damaged file. 32,768 tokens: below 0.1 s.
Result<std::shared_ptr<const Encoder>> open_encoder(const std::string& folder);

}  // namespace hieron
