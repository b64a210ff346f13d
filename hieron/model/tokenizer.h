// The tokenizer of a checkpoint, as far as a merge needs it: which tokens there are, which row of
// the embedding each has, and the files that say so. Read as data; nothing in it is executed.
//
//   tokenizer.json            vocabulary (BPE, WordPiece, WordLevel, Unigram) and added tokens
//   vocab.json, vocab.txt     the vocabulary of a folder without tokenizer.json
//   tokenizer_config.json     added_tokens_decoder, named special tokens, chat_template
//   special_tokens_map.json, added_tokens.json (without added_tokens_decoder), chat_template.jinja
//
// Ids are those that transformers gives, whatever the files state: a token of the vocabulary has
// its id there; each added token behind it the next free one, in the order above, the named special
// tokens last. Where a file states another id, that is a warning.
#pragma once

#include <cstddef>
#include <cstdint>
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
  bool named = false;          // pad_token or the like: transformers adds it where it is missing
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

  // What the next added token gets.
  uint64_t next_id() const { return next_id_; }

  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend class TokenizerParser;
  std::string folder_, file_, kind_;
  std::vector<char> arena_;  // the texts; never grows once it is in use
  std::vector<Token> tokens_;
  std::vector<uint32_t> by_text_;  // open hash table of numbers into tokens_, from 1
  std::vector<AddedToken> added_;
  uint64_t next_id_ = 0;
  std::vector<std::string> warnings_;
};

// A file of a tokenizer: its name in the folder, and its bytes.
struct TokenizerFile {
  std::string name;
  std::string text;
};

// Null if the folder holds no vocabulary. Refused: one that only a kind of file holds which is not
// read (tokenizer.model, tekken.json, …), and a file that is damaged, contradicts itself (two
// tokens with one id, a token twice) or is larger than any tokenizer. 150,000 tokens: about 50 ms.
Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& folder);

// The same of files that need not be written yet; `folder` is for messages.
Result<std::shared_ptr<const Tokenizer>> parse_tokenizer(const std::vector<TokenizerFile>& files,
                                                         const std::string& folder);

// A vocabulary in a format that is not read (tokenizer.model, …)?
bool is_opaque_vocabulary(std::string_view file_name);

// All of a folder's tokenizer files as they are, those above and tokenizer.model, merges.txt, … .
Result<std::vector<TokenizerFile>> read_tokenizer_files(const std::string& folder);

// The default one, if there is any: chat_template.jinja, else tokenizer_config.json's.
Result<std::optional<std::string>> read_chat_template(const std::string& folder);

}  // namespace hieron
