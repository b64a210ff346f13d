#include "hieron/model/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <functional>
#include <limits>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

constexpr uint64_t kMaxFileBytes = 256u << 20;  // the largest in use have 35 MB
constexpr size_t kMaxDepth = 64;                // normalizers nest a few levels
constexpr std::string_view kFetch = "fetch the tokenizer files again.";

constexpr std::string_view kTokenizerJson = "tokenizer.json", kVocabJson = "vocab.json",
                           kVocabText = "vocab.txt", kConfig = "tokenizer_config.json",
                           kSpecialMap = "special_tokens_map.json",
                           kAddedJson = "added_tokens.json", kTemplate = "chat_template.jinja";

constexpr std::array<std::string_view, 14> kFiles{kTokenizerJson,       kConfig,
                                                  kSpecialMap,          kAddedJson,
                                                  kVocabJson,           "merges.txt",
                                                  kVocabText,           kTemplate,
                                                  "spiece.model",       "tokenizer.model",
                                                  "tokenizer.model.v3", "sentencepiece.bpe.model",
                                                  "tekken.json",        "chat_template.json"};

constexpr std::array<std::string_view, 7> kSpecialNames{
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

uint32_t hash_of(std::string_view text) {
  return static_cast<uint32_t>(std::hash<std::string_view>()(text));
}

bool is_regular(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// simdjson refuses integers beyond 64 bits, and transformers writes 10^30 for "no maximum". None of
// them is read here: they become 0.
void forget_long_integers(std::string& json) {
  constexpr std::string_view kNumber = "+-.0123456789Ee";
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') in_string = !in_string;
    if (in_string && json[i] == '\\') ++i;
    if (in_string || (json[i] < '0' || json[i] > '9')) continue;
    const size_t end = std::min(json.find_first_not_of(kNumber, i), json.size());
    const std::string_view number(json.data() + i, end - i);
    if (number.size() > 18 && number.find_first_not_of("0123456789") == number.npos) {
      std::fill_n(json.begin() + static_cast<ptrdiff_t>(i), number.size(), ' ');
      json[i] = '0';
    }
    i = end - 1;
  }
}

struct Entry {
  size_t offset, bytes;  // of the text, in the arena
  uint32_t id;
};

}  // namespace

bool AddedToken::same_settings(const AddedToken& other) const {
  return content == other.content && special == other.special && single_word == other.single_word &&
         lstrip == other.lstrip && rstrip == other.rstrip && normalized == other.normalized;
}

// Reads the files of one folder, in the order of their authority.
class TokenizerParser {
 public:
  explicit TokenizerParser(const std::string& folder) : folder_(folder) {}

  Result<std::shared_ptr<const Tokenizer>> read() {
    HIERON_TRY(const bool found, read_vocabulary());
    if (!found) return std::shared_ptr<const Tokenizer>();
    if (exists(kConfig)) HIERON_CHECK(with_object(kConfig, &TokenizerParser::read_config));
    if (exists(kSpecialMap)) HIERON_CHECK(with_object(kSpecialMap, &TokenizerParser::read_names));
    if (exists(kAddedJson)) HIERON_CHECK(with_object(kAddedJson, &TokenizerParser::read_added_ids));
    if (exists(kTemplate)) {
      HIERON_TRY(std::string text, read_text(path(kTemplate), kMaxFileBytes));
      out_->chat_template_ = std::move(text);
    }
    HIERON_CHECK(place_added());
    HIERON_CHECK(finish());
    warn_of_unplaced();
    return out_;
  }

 private:
  std::string path(std::string_view file) const { return folder_ + "/" + std::string(file); }
  bool exists(std::string_view file) const { return is_regular(path(file)); }

  std::unexpected<Error> refuse_file(std::string_view what) const {
    return refuse(fmt::format("{}: {}; {}", printable(current_, 400), what, kFetch), current_);
  }

  // ---- the vocabulary

  Result<bool> read_vocabulary() {
    out_->folder_ = folder_;
    for (const std::string_view file : {kTokenizerJson, kVocabJson, kVocabText}) {
      if (!exists(file)) continue;
      out_->file_ = path(file);
      if (file == kVocabText) {
        HIERON_CHECK(read_lines());
      } else {
        HIERON_CHECK(with_object(file, file == kVocabJson ? &TokenizerParser::read_vocab_json
                                                          : &TokenizerParser::read_tokenizer));
      }
      return true;
    }
    return false;
  }

  using Reading = Status (TokenizerParser::*)(dom::object);

  Status with_object(std::string_view file, Reading reading) {
    current_ = path(file);
    HIERON_TRY(std::string text, read_text(current_, kMaxFileBytes));
    if (file == kConfig) forget_long_integers(text);
    const size_t bytes = text.size();
    text.reserve(bytes + simdjson::SIMDJSON_PADDING);
    dom::parser parser(kMaxFileBytes);
    if (parser.allocate(std::max<size_t>(bytes, 64), kMaxDepth) != simdjson::SUCCESS) {
      return system_error(fmt::format("{}: no memory to parse {}.", current_, show_bytes(bytes)),
                          current_);
    }
    dom::element root;
    if (const auto code = parser.parse(text.data(), bytes, false).get(root)) {
      return refuse_file(fmt::format("not valid JSON ({})", simdjson::error_message(code)));
    }
    dom::object object;
    if (root.get(object) != simdjson::SUCCESS) return refuse_file("not a JSON object");
    // vocab.json's and added_tokens.json's own keys are tokens, which are checked as such.
    if (reading != &TokenizerParser::read_vocab_json) HIERON_CHECK(no_repeats(object));
    if (out_->arena_.capacity() == 0) out_->arena_.reserve(bytes);
    return (this->*reading)(object);
  }

  // Which of two values of one key counts depends on who reads them.
  Status no_repeats(dom::object object) const {
    std::vector<std::string_view> keys;
    for (const dom::key_value_pair field : object) keys.push_back(field.key);
    std::ranges::sort(keys);
    const auto found = std::ranges::adjacent_find(keys);
    if (found == keys.end()) return {};
    return refuse_file(fmt::format("\"{}\" is in it twice", printable(*found, 60)));
  }

  Status read_tokenizer(dom::object root) {
    dom::object model;
    if (root["model"].get(model) != simdjson::SUCCESS) {
      return refuse_file("there is no \"model\" in it");
    }
    HIERON_CHECK(no_repeats(model));
    std::string_view kind;
    if (model["type"].get(kind) == simdjson::SUCCESS) out_->kind_ = kind;
    dom::element vocab;
    if (model["vocab"].get(vocab) != simdjson::SUCCESS) {
      return refuse_file("the model has no \"vocab\"");
    }
    HIERON_CHECK(vocab.is_array() ? read_pieces(vocab) : read_ids(vocab));
    if (out_->kind_.empty()) out_->kind_ = vocab.is_array() ? "Unigram" : guess_kind(model);
    dom::element added;
    if (root["added_tokens"].get(added) != simdjson::SUCCESS || added.is_null()) return {};
    dom::array list;
    if (added.get(list) != simdjson::SUCCESS) return refuse_file("\"added_tokens\" is not a list");
    for (const dom::element element : list) {
      HIERON_TRY(const AddedToken token, read_added(element, std::nullopt));
      HIERON_CHECK(remember(token, true));
    }
    return {};
  }

  // Old files do not say which model they are.
  static std::string guess_kind(dom::object model) {
    dom::element ignored;
    if (model["merges"].get(ignored) == simdjson::SUCCESS) return "BPE";
    return model["max_input_chars_per_word"].get(ignored) == simdjson::SUCCESS ? "WordPiece"
                                                                               : "WordLevel";
  }

  Status read_vocab_json(dom::object root) {
    out_->kind_ = exists("merges.txt") ? "BPE" : "WordLevel";
    return read_ids(root);
  }

  Status read_ids(dom::element vocab) {
    dom::object object;
    if (vocab.get(object) != simdjson::SUCCESS) {
      return refuse_file("the \"vocab\" is neither an object nor a list");
    }
    return read_ids(object);
  }

  Status read_ids(dom::object vocab) {
    for (const dom::key_value_pair field : vocab) {
      HIERON_TRY(const uint32_t id, read_id(field.value, field.key));
      HIERON_CHECK(add(field.key, id));
    }
    out_->trained_ = entries_.size();
    return {};
  }

  // Unigram: a list of [text, score]; the id is the place. Of equal texts the last one counts.
  Status read_pieces(dom::element vocab) {
    dom::array list;
    if (vocab.get(list) != simdjson::SUCCESS) return refuse_file("the \"vocab\" is not a list");
    uint64_t place = 0;
    for (const dom::element element : list) {
      dom::array pair;
      std::string_view text;
      if (element.get(pair) != simdjson::SUCCESS || pair.at(0).get(text) != simdjson::SUCCESS) {
        return refuse_file(fmt::format("entry {} of the \"vocab\" is not [text, score]", place));
      }
      if (place >= kMaxTokenIds)
        return refuse_file(fmt::format("it has more than {} tokens", with_commas(kMaxTokenIds)));
      HIERON_CHECK(add(text, static_cast<uint32_t>(place++)));
    }
    out_->trained_ = entries_.size();
    last_counts_ = true;
    return {};
  }

  Status read_lines() {
    current_ = path(kVocabText);
    HIERON_TRY(const std::string text, read_text(current_, kMaxFileBytes));
    if (!valid_utf8(text)) return refuse_file("not valid UTF-8");
    out_->kind_ = "WordPiece";
    out_->arena_.reserve(text.size());
    uint32_t line = 0;
    for (size_t at = 0; at < text.size(); ++line) {
      size_t end = text.find('\n', at);
      if (end == text.npos) end = text.size();
      std::string_view token(text.data() + at, end - at);
      if (token.ends_with('\r')) token.remove_suffix(1);
      if (line >= kMaxTokenIds)
        return refuse_file(fmt::format("it has more than {} tokens", with_commas(kMaxTokenIds)));
      HIERON_CHECK(add(token, line));
      at = end + 1;
    }
    out_->trained_ = entries_.size();
    last_counts_ = true;
    return {};
  }

  Result<uint32_t> read_id(dom::element value, std::string_view token) const {
    uint64_t id = 0;
    if (value.get(id) == simdjson::SUCCESS && id < kMaxTokenIds) return static_cast<uint32_t>(id);
    return refuse_file(fmt::format("the id of the token \"{}\" is not a whole number below {}",
                                   printable(token, 60), with_commas(kMaxTokenIds)));
  }

  Status add(std::string_view text, uint32_t id) {
    std::vector<char>& arena = out_->arena_;
    if (text.size() > std::numeric_limits<uint32_t>::max()) {
      return refuse_file("a token is longer than 4 GB");
    }
    entries_.push_back({arena.size(), text.size(), id});
    arena.insert(arena.end(), text.begin(), text.end());
    return {};
  }

  // ---- added tokens

  Result<AddedToken> read_added(dom::element element, std::optional<uint32_t> id) const {
    dom::object object;
    std::string_view content;
    if (element.get(object) != simdjson::SUCCESS ||
        object["content"].get(content) != simdjson::SUCCESS) {
      return refuse_file("an added token is not an object with \"content\"");
    }
    AddedToken token;
    token.content = content;
    dom::element number;
    if (id) {
      token.id = *id;
    } else if (object["id"].get(number) == simdjson::SUCCESS) {
      HIERON_TRY(token.id, read_id(number, content));
    } else {
      return refuse_file(
          fmt::format("the added token \"{}\" has no id", printable(token.content, 60)));
    }
    const std::pair<const char*, bool*> flags[] = {{"special", &token.special},
                                                   {"single_word", &token.single_word},
                                                   {"lstrip", &token.lstrip},
                                                   {"rstrip", &token.rstrip},
                                                   {"normalized", &token.normalized}};
    for (const auto& [key, flag] : flags) {
      dom::element value;
      if (object[key].get(value) != simdjson::SUCCESS) continue;
      if (value.get(*flag) == simdjson::SUCCESS) continue;
      return refuse_file(fmt::format("\"{}\" of the added token \"{}\" is not true or false", key,
                                     printable(token.content, 60)));
    }
    return token;
  }

  // The first file that says something about a token holds.
  Status remember(const AddedToken& token, bool same_file) {
    const auto [known, fresh] = number_of_added_.try_emplace(token.content, added_.size());
    if (fresh) {
      added_.push_back(token);
      return {};
    }
    const AddedToken& first = added_[known->second];
    if (first.id == token.id) return {};
    const std::string ids = fmt::format("the token \"{}\" has the ids {} and {}",
                                        printable(token.content, 60), first.id, token.id);
    if (same_file) return refuse_file(ids);
    warn(fmt::format("{}: {}; the first, of {}, holds.", current_, ids, out_->file_));
    return {};
  }

  // added_tokens.json: {"<tool>": 32000, …}
  Status read_added_ids(dom::object root) {
    for (const dom::key_value_pair field : root) {
      AddedToken token;
      HIERON_TRY(token.id, read_id(field.value, field.key));
      token.content = field.key;
      HIERON_CHECK(remember(token, false));
    }
    return {};
  }

  // ---- tokenizer_config.json

  Status read_config(dom::object root) {
    HIERON_CHECK(read_names(root));
    dom::element found;
    if (root["chat_template"].get(found) == simdjson::SUCCESS) read_template(found);
    dom::object decoder;
    if (root["added_tokens_decoder"].get(decoder) != simdjson::SUCCESS) return {};
    for (const dom::key_value_pair field : decoder) {
      const std::optional<uint32_t> id = parse_id(field.key);
      if (!id) {
        return refuse_file(fmt::format("\"{}\" in added_tokens_decoder is not a token id",
                                       printable(field.key, 60)));
      }
      HIERON_TRY(const AddedToken token, read_added(field.value, id));
      HIERON_CHECK(remember(token, false));
    }
    return {};
  }

  static std::optional<uint32_t> parse_id(std::string_view digits) {
    if (digits.empty() || digits.size() > 8) return std::nullopt;
    uint32_t id = 0;
    for (const char c : digits) {
      if (c < '0' || c > '9') return std::nullopt;
      id = id * 10 + static_cast<uint32_t>(c - '0');
    }
    if (id >= kMaxTokenIds) return std::nullopt;
    return id;
  }

  // One template, or a list of named ones.
  void read_template(dom::element value) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS) {
      out_->chat_template_ = std::string(text);
      return;
    }
    dom::array list;
    if (value.get(list) != simdjson::SUCCESS) return;
    for (const dom::element element : list) {
      std::string_view name;
      if (element["name"].get(name) != simdjson::SUCCESS || name != "default") continue;
      if (element["template"].get(text) == simdjson::SUCCESS) {
        out_->chat_template_ = std::string(text);
      }
    }
  }

  Status read_names(dom::object root) {
    for (const std::string_view name : kSpecialNames) {
      dom::element value;
      if (root[name].get(value) != simdjson::SUCCESS) continue;
      std::string_view text;
      if (value.get(text) != simdjson::SUCCESS && value["content"].get(text) != simdjson::SUCCESS) {
        continue;  // null
      }
      out_->special_tokens_.try_emplace(std::string(name), text);
    }
    return {};
  }

  // ---- putting it together

  // Added tokens that the vocabulary has keep its id; the others are appended to it.
  Status place_added() {
    current_ = out_->file_;
    list_texts();
    HIERON_CHECK(drop_repeated());
    std::vector<Token>& tokens = out_->tokens_;
    for (AddedToken& token : added_) {
      const auto known = out_->id(token.content);
      if (known && *known != token.id) {
        return refuse_file(
            fmt::format("the token \"{}\" has the id {} in the vocabulary and {} as "
                        "an added token",
                        printable(token.content, 60), *known, token.id));
      }
      token.in_vocabulary = known.has_value();
      if (known) continue;
      const bool in_order = tokens.empty() || tokens.back().id < token.id;
      tokens.push_back({keep(token.content), token.id});
      if (in_order) number_text(tokens.size() - 1);
      unsorted_ = unsorted_ || !in_order;
    }
    return {};
  }

  void list_texts() {
    size_t bytes = out_->arena_.size();
    for (const AddedToken& token : added_) bytes += token.content.size();
    out_->arena_.reserve(bytes);
    out_->tokens_.reserve(entries_.size() + added_.size());
    for (const Entry& entry : entries_) {
      out_->tokens_.push_back({{out_->arena_.data() + entry.offset, entry.bytes}, entry.id});
    }
    if (!std::ranges::is_sorted(out_->tokens_, {}, &Token::id)) {
      std::ranges::stable_sort(out_->tokens_, {}, &Token::id);
    }
    number_texts();
  }

  std::string_view keep(std::string_view text) {
    std::vector<char>& arena = out_->arena_;
    const size_t at = arena.size();
    arena.insert(arena.end(), text.begin(), text.end());
    return {arena.data() + at, text.size()};
  }

  void number_texts() {
    const size_t most = out_->tokens_.size() + added_.size();
    out_->by_text_.assign(std::bit_ceil(most * 3 / 2 + 1), 0);
    for (size_t i = 0; i < out_->tokens_.size(); ++i) number_text(i);
  }

  // The last of equal texts counts; the ids of the others go to repeated_.
  void number_text(size_t number) {
    std::vector<uint32_t>& slots = out_->by_text_;
    const std::vector<Token>& tokens = out_->tokens_;
    const size_t mask = slots.size() - 1;
    size_t slot = hash_of(tokens[number].text) & mask;
    while (slots[slot] != 0 && tokens[slots[slot] - 1].text != tokens[number].text) {
      slot = (slot + 1) & mask;
    }
    if (slots[slot] != 0) repeated_.push_back(tokens[slots[slot] - 1].id);
    slots[slot] = static_cast<uint32_t>(number + 1);
  }

  Status finish() {
    std::vector<Token>& tokens = out_->tokens_;
    if (unsorted_) std::ranges::stable_sort(tokens, {}, &Token::id);
    const auto same = std::ranges::adjacent_find(tokens, {}, &Token::id);
    if (same != tokens.end()) {
      return refuse_file(fmt::format("the tokens \"{}\" and \"{}\" have one id, {}",
                                     printable(same->text, 60), printable((same + 1)->text, 60),
                                     same->id));
    }
    if (unsorted_) number_texts();
    std::ranges::sort(added_, {}, &AddedToken::id);
    out_->added_ = std::move(added_);
    return {};
  }

  Status drop_repeated() {
    if (repeated_.empty()) return {};
    std::vector<Token>& tokens = out_->tokens_;
    const std::string shown = printable(*out_->text(repeated_[0]), 60);
    if (!last_counts_) {
      return refuse_file(fmt::format("the token \"{}\" is in it twice", shown));
    }
    warn(fmt::format("{}: {} tokens are in it more than once (\"{}\", …); the last id counts.",
                     current_, with_commas(repeated_.size()), shown));
    std::ranges::sort(repeated_);
    std::erase_if(tokens, [&](const Token& token) {
      return std::ranges::binary_search(repeated_, token.id);
    });
    number_texts();
    return {};
  }

  void warn_of_unplaced() {
    uint64_t next = out_->next_id();
    std::vector<std::string_view> seen;
    for (const auto& [name, text] : out_->special_tokens_) {
      if (out_->id(text) || std::ranges::find(seen, text) != seen.end()) continue;
      seen.push_back(text);
      warn(
          fmt::format("{}: the {} \"{}\" is not in the vocabulary; transformers gives it the id "
                      "{}, for which the model may have no row.",
                      path(kConfig), name, printable(text, 60), next++));
    }
  }

  void warn(std::string sentence) { out_->warnings_.push_back(std::move(sentence)); }

  const std::string folder_;
  std::string current_;  // the file being read
  std::shared_ptr<Tokenizer> out_ = std::make_shared<Tokenizer>();
  std::vector<Entry> entries_;
  std::vector<AddedToken> added_;
  std::map<std::string, size_t, std::less<>> number_of_added_;
  std::vector<uint32_t> repeated_;
  bool last_counts_ = false;  // a text may occur again
  bool unsorted_ = false;
};

std::optional<uint32_t> Tokenizer::id(std::string_view text) const {
  if (by_text_.empty()) return std::nullopt;
  const size_t mask = by_text_.size() - 1;
  for (size_t slot = hash_of(text) & mask; by_text_[slot] != 0; slot = (slot + 1) & mask) {
    const Token& token = tokens_[by_text_[slot] - 1];
    if (token.text == text) return token.id;
  }
  return std::nullopt;
}

std::optional<std::string_view> Tokenizer::text(uint32_t id) const {
  const auto found = std::ranges::lower_bound(tokens_, id, {}, &Token::id);
  if (found == tokens_.end() || found->id != id) return std::nullopt;
  return found->text;
}

const AddedToken* Tokenizer::added_token(std::string_view text) const {
  const std::optional<uint32_t> number = id(text);
  if (!number) return nullptr;
  const auto found = std::ranges::lower_bound(added_, *number, {}, &AddedToken::id);
  return found == added_.end() || found->id != *number ? nullptr : &*found;
}

uint64_t Tokenizer::next_id() const {
  return std::max<uint64_t>(trained_, added_.empty() ? 0 : uint64_t{added_.back().id} + 1);
}

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& folder) {
  return TokenizerParser(folder).read();
}

Result<std::vector<TokenizerFile>> read_tokenizer_files(const std::string& folder) {
  std::vector<TokenizerFile> files;
  for (const std::string_view name : kFiles) {
    const fs::path path = fs::path(folder) / name;
    if (!is_regular(path)) continue;
    HIERON_TRY(std::string text, read_text(path.string(), kMaxFileBytes));
    files.push_back({std::string(name), std::move(text)});
  }
  return files;
}

}  // namespace hieron
