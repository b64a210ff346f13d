// The tokenizer of a checkpoint, as far as a merge needs it: which tokens there are, which row of
// the embedding each has, and the files that say so. Read as data; nothing in it is executed.
//
//   tokenizer.json            vocabulary (BPE, WordPiece, WordLevel, Unigram) and added tokens
//   vocab.json, vocab.txt     the vocabulary of a folder without tokenizer.json
//   tokenizer_config.json     added_tokens_decoder, named special tokens, chat_template
//   added_tokens.json, special_tokens_map.json, chat_template.jinja
//
// Where files disagree, tokenizer.json holds, as it does for transformers; that is a warning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hieron/core/error.h"

namespace hieron {

// Ids from here on are refused: no model has an embedding of so many rows.
inline constexpr uint64_t kMaxTokenIds = 1u << 22;

// A token outside the vocabulary that was trained: found in the text as it is, before all others.
struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special = false;  // not shown when text is decoded
  bool single_word = false, lstrip = false, rstrip = false;
  bool normalized = true;
  bool in_vocabulary = false;  // also a token of the vocabulary proper
  // The same content and flags of the list above?
  bool same_settings(const AddedToken& other) const;
};

struct Token {
  std::string_view text;
  uint32_t id;
};

// Immutable; threads may share it.
class Tokenizer {
 public:
  const std::string& folder() const { return folder_; }
  const std::string& file() const { return file_; }  // the vocabulary's, for messages
  const std::string& kind() const { return kind_; }  // "BPE", "WordPiece", "WordLevel", "Unigram"

  std::span<const Token> tokens() const { return tokens_; }     // all, added ones too; by id
  std::span<const AddedToken> added() const { return added_; }  // by id
  std::optional<uint32_t> id(std::string_view text) const;
  std::optional<std::string_view> text(uint32_t id) const;
  const AddedToken* added_token(std::string_view text) const;
  uint64_t id_end() const { return tokens_.empty() ? 0 : uint64_t{tokens_.back().id} + 1; }
  // The id that an added token would get next, as the tokenizers library counts.
  uint64_t next_id() const;

  // "bos_token" -> "<s>", …, as tokenizer_config.json and special_tokens_map.json name them.
  const std::map<std::string, std::string>& special_tokens() const { return special_tokens_; }
  // The default one, if there is any: chat_template.jinja, else tokenizer_config.json's.
  const std::optional<std::string>& chat_template() const { return chat_template_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend class TokenizerParser;
  std::string folder_, file_, kind_;
  std::vector<char> arena_;  // the texts; never grows once it is in use
  std::vector<Token> tokens_;
  std::vector<uint32_t> by_text_;  // open hash table of numbers into tokens_, from 1
  std::vector<AddedToken> added_;
  uint64_t trained_ = 0;  // tokens of the vocabulary proper
  std::map<std::string, std::string> special_tokens_;
  std::optional<std::string> chat_template_;
  std::vector<std::string> warnings_;
};

// Null if the folder holds no vocabulary. Refused: a file that is damaged, contradicts itself (two
// tokens with one id, a token twice) or is larger than any tokenizer. 150,000 tokens: about 50 ms.
Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& folder);

// A file of a tokenizer: its name in the folder, and its bytes.
struct TokenizerFile {
  std::string name;
  std::string text;
};

// All of a folder's tokenizer files as they are, those above and tokenizer.model, merges.txt, … .
Result<std::vector<TokenizerFile>> read_tokenizer_files(const std::string& folder);

}  // namespace hieron
