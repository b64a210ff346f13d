#include "hieron/model/tokenizer.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <functional>
#include <limits>
#include <unordered_map>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/io/file.h"

namespace hieron {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

constexpr uint64_t kMaxFileBytes = 64u << 20;  // the largest in use have 35 MB
constexpr size_t kMaxDepth = 64;               // normalizers nest a few levels
constexpr std::string_view kFetch = "fetch the tokenizer files again.";

constexpr std::string_view kTokenizerJson = "tokenizer.json", kVocabJson = "vocab.json",
                           kVocabText = "vocab.txt", kConfig = "tokenizer_config.json",
                           kSpecialMap = "special_tokens_map.json",
                           kAddedJson = "added_tokens.json", kTemplate = "chat_template.jinja";

constexpr std::array<std::string_view, 9> kReadable{
    kTokenizerJson, kConfig,    kSpecialMap, kAddedJson,          kVocabJson,
    "merges.txt",   kVocabText, kTemplate,   "chat_template.json"};
// Vocabularies of other programs.
constexpr std::array<std::string_view, 8> kOpaque{
    "tokenizer.model",    "tokenizer.model.v3", "spiece.model",   "sentencepiece.bpe.model",
    "tokenizer.tiktoken", "qwen.tiktoken",      "tiktoken.model", "tekken.json"};

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
  // `files`: read instead of the folder's, unless null.
  TokenizerParser(const std::string& folder, const std::vector<TokenizerFile>* files)
      : folder_(folder), files_(files) {}

  Result<std::shared_ptr<const Tokenizer>> read() {
    HIERON_TRY(const bool found, read_vocabulary());
    if (!found) return std::shared_ptr<const Tokenizer>();
    if (exists(kConfig)) HIERON_CHECK(with_object(kConfig, &TokenizerParser::read_config));
    // transformers reads these two only where there is no added_tokens_decoder.
    if (!has_decoder_) {
      if (exists(kSpecialMap)) HIERON_CHECK(with_object(kSpecialMap, &TokenizerParser::read_names));
      if (exists(kAddedJson)) {
        HIERON_CHECK(with_object(kAddedJson, &TokenizerParser::read_added_ids));
      }
    }
    HIERON_CHECK(place_tokens());
    HIERON_CHECK(finish());
    return out_;
  }

  Result<std::optional<std::string>> read_template() {
    if (exists(kTemplate)) {
      current_ = path(kTemplate);
      HIERON_TRY(std::string found, text(kTemplate));
      if (!valid_utf8(found)) return refuse_file("not valid UTF-8");
      return found;
    }
    if (exists(kConfig)) HIERON_CHECK(with_object(kConfig, &TokenizerParser::find_template));
    return std::move(template_);
  }

 private:
  // An added token and the id that a file states for it.
  struct Listed {
    AddedToken token;
    std::optional<uint32_t> stated;
  };

  std::string path(std::string_view file) const { return folder_ + "/" + std::string(file); }

  const TokenizerFile* given(std::string_view file) const {
    const auto found = std::ranges::find(*files_, file, &TokenizerFile::name);
    return found == files_->end() ? nullptr : &*found;
  }
  bool exists(std::string_view file) const {
    return files_ ? given(file) != nullptr : is_regular(path(file));
  }
  Result<std::string> text(std::string_view file) const {
    if (files_) return given(file)->text;
    return read_text(path(file), kMaxFileBytes);
  }

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
    for (const std::string_view file : kOpaque) {
      if (exists(file)) return refuse_opaque(file);
    }
    return false;
  }

  std::unexpected<Error> refuse_opaque(std::string_view file) const {
    return refuse(
        fmt::format("{}: its tokens are not read, and there is no tokenizer.json beside it; let "
                    "transformers write one (AutoTokenizer.from_pretrained, then save_pretrained).",
                    printable(path(file), 400)),
        path(file));
  }

  using Reading = Status (TokenizerParser::*)(dom::object);

  Status with_object(std::string_view file, Reading reading) {
    current_ = path(file);
    HIERON_TRY(std::string json, text(file));
    if (file == kConfig) forget_long_integers(json);
    const size_t bytes = json.size();
    json.reserve(bytes + simdjson::SIMDJSON_PADDING);
    dom::parser parser(kMaxFileBytes);
    if (parser.allocate(std::max<size_t>(bytes, 64), kMaxDepth) != simdjson::SUCCESS) {
      return system_error(fmt::format("{}: no memory to parse {}.", current_, show_bytes(bytes)),
                          current_);
    }
    dom::element root;
    if (const auto code = parser.parse(json.data(), bytes, false).get(root)) {
      return refuse_file(fmt::format("not valid JSON ({})", simdjson::error_message(code)));
    }
    dom::object object;
    if (root.get(object) != simdjson::SUCCESS) return refuse_file("not a JSON object");
    // vocab.json's keys are tokens, which are checked as such.
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
      HIERON_TRY(Listed token, read_added(element, std::nullopt));
      remember(std::move(token));
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
    trained_ = entries_.size();
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
    trained_ = entries_.size();
    last_counts_ = true;
    return {};
  }

  Status read_lines() {
    current_ = path(kVocabText);
    HIERON_TRY(const std::string lines, text(kVocabText));
    if (!valid_utf8(lines)) return refuse_file("not valid UTF-8");
    out_->kind_ = "WordPiece";
    out_->arena_.reserve(lines.size());
    uint32_t line = 0;
    for (size_t at = 0; at < lines.size(); ++line) {
      size_t end = lines.find('\n', at);
      if (end == lines.npos) end = lines.size();
      std::string_view token(lines.data() + at, end - at);
      if (token.ends_with('\r')) token.remove_suffix(1);
      if (line >= kMaxTokenIds)
        return refuse_file(fmt::format("it has more than {} tokens", with_commas(kMaxTokenIds)));
      HIERON_CHECK(add(token, line));
      at = end + 1;
    }
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

  Result<Listed> read_added(dom::element element, std::optional<uint32_t> id) const {
    dom::object object;
    std::string_view content;
    if (element.get(object) != simdjson::SUCCESS ||
        object["content"].get(content) != simdjson::SUCCESS) {
      return refuse_file("an added token is not an object with \"content\"");
    }
    Listed listed{.token = {}, .stated = id};
    listed.token.content = content;
    dom::element number;
    if (!id && object["id"].get(number) == simdjson::SUCCESS) {
      HIERON_TRY(listed.stated, read_id(number, content));
    }
    if (!listed.stated) {
      return refuse_file(fmt::format("the added token \"{}\" has no id", printable(content, 60)));
    }
    HIERON_CHECK(read_flags(object, listed.token));
    return listed;
  }

  Status read_flags(dom::object object, AddedToken& token) const {
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
    return {};
  }

  // The place in the list is that of the first mention. The tokenizers library leaves out empty
  // ones.
  Listed* remember(Listed listed) {
    if (listed.token.content.empty()) return nullptr;
    const auto [known, fresh] = number_of_added_.try_emplace(listed.token.content, added_.size());
    if (fresh) added_.push_back(std::move(listed));
    return fresh ? nullptr : &added_[known->second];
  }

  // added_tokens.json: {"<tool>": 32000, …}
  Status read_added_ids(dom::object root) {
    std::vector<Listed> by_id;
    for (const dom::key_value_pair field : root) {
      Listed listed;
      HIERON_TRY(listed.stated, read_id(field.value, field.key));
      listed.token.content = field.key;
      listed.token.special = std::ranges::any_of(
          named_, [&](const AddedToken& named) { return named.content == field.key; });
      listed.token.normalized = !listed.token.special;
      by_id.push_back(std::move(listed));
    }
    std::ranges::stable_sort(by_id, {}, &Listed::stated);
    for (Listed& listed : by_id) remember(std::move(listed));
    return {};
  }

  // ---- tokenizer_config.json

  Status read_config(dom::object root) {
    HIERON_CHECK(read_names(root));
    dom::object decoder;
    if (root["added_tokens_decoder"].get(decoder) != simdjson::SUCCESS) return {};
    has_decoder_ = true;
    std::vector<Listed> by_id;
    for (const dom::key_value_pair field : decoder) {
      const std::optional<uint32_t> id = parse_id(field.key);
      if (!id) {
        return refuse_file(fmt::format("\"{}\" in added_tokens_decoder is not a token id",
                                       printable(field.key, 60)));
      }
      HIERON_TRY(Listed listed, read_added(field.value, id));
      by_id.push_back(std::move(listed));
    }
    std::ranges::stable_sort(by_id, {}, &Listed::stated);
    // Of tokens that tokenizer.json has too, the settings here hold.
    for (const Listed& listed : by_id) {
      if (Listed* known = remember(listed)) known->token = listed.token;
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
  Status find_template(dom::object root) {
    dom::element value;
    std::string_view found;
    if (root["chat_template"].get(value) != simdjson::SUCCESS) return {};
    if (value.get(found) == simdjson::SUCCESS) template_ = found;
    dom::array list;
    if (value.get(list) != simdjson::SUCCESS) return {};
    for (const dom::element element : list) {
      std::string_view name;
      if (element["name"].get(name) != simdjson::SUCCESS || name != "default") continue;
      if (element["template"].get(found) == simdjson::SUCCESS) template_ = found;
    }
    return {};
  }

  // Special tokens that have a name of their own ("eos_token"), then those that are only listed.
  Status read_names(dom::object root) {
    dom::element value;
    for (const std::string_view name : kSpecialNames) {
      if (root[name].get(value) == simdjson::SUCCESS) HIERON_CHECK(read_name(value));
    }
    for (const char* list : {"additional_special_tokens", "extra_special_tokens"}) {
      if (root[list].get(value) == simdjson::SUCCESS) HIERON_CHECK(read_names_in(value));
    }
    return {};
  }

  Status read_names_in(dom::element list) {
    if (dom::array array; list.get(array) == simdjson::SUCCESS) {
      for (const dom::element value : array) HIERON_CHECK(read_name(value));
    }
    if (dom::object object; list.get(object) == simdjson::SUCCESS) {
      for (const dom::key_value_pair field : object) HIERON_CHECK(read_name(field.value));
    }
    return {};
  }

  // "</s>", {"content": "</s>", …}, or null: none
  Status read_name(dom::element value) {
    AddedToken token{.content = {}, .special = true, .normalized = false};
    std::string_view content;
    if (value.get(content) == simdjson::SUCCESS) {
      token.content = content;
    } else if (dom::object object; value.get(object) == simdjson::SUCCESS &&
                                   object["content"].get(content) == simdjson::SUCCESS) {
      token.content = content;
      HIERON_CHECK(read_flags(object, token));
      token.special = true;
    }
    if (!token.content.empty()) named_.push_back(std::move(token));
    return {};
  }

  // ---- putting it together

  // Added tokens that the vocabulary has keep its id; each other one gets the next, as in the
  // tokenizers library.
  Status place_tokens() {
    current_ = out_->file_;
    list_texts();
    HIERON_CHECK(drop_repeated());
    if (out_->kind_ == "WordPiece") trained_ = out_->tokens_.size();
    uint64_t next = trained_, elsewhere = 0;
    std::string shown;
    for (auto& [token, stated] : added_) {
      HIERON_CHECK(place(token, next));
      if (!stated || *stated == token.id || elsewhere++ > 0) continue;
      shown = fmt::format("\"{}\": {}, not {}", printable(token.content, 60), token.id, *stated);
    }
    out_->next_id_ = next;
    if (elsewhere == 0) return {};
    warn(
        fmt::format("{}: the ids that are stated for {} added token{} are not those that "
                    "transformers gives ({}{}), which hold.",
                    printable(current_, 400), with_commas(elsewhere), elsewhere == 1 ? "" : "s",
                    shown, elsewhere == 1 ? "" : ", …"));
    return {};
  }

  Status place(AddedToken& token, uint64_t& next) {
    const auto known = out_->id(token.content);
    token.in_vocabulary = known.has_value();
    if (!known && next >= kMaxTokenIds) {
      return refuse_file(fmt::format("it has more than {} tokens", with_commas(kMaxTokenIds)));
    }
    token.id = known.value_or(static_cast<uint32_t>(next));
    next = std::max(next, uint64_t{token.id} + 1);
    if (known) return {};
    std::vector<Token>& tokens = out_->tokens_;
    const bool in_order = tokens.empty() || tokens.back().id < token.id;
    tokens.push_back({keep(token.content), token.id});
    if (in_order) number_text(tokens.size() - 1);
    unsorted_ = unsorted_ || !in_order;
    return {};
  }

  void list_texts() {
    for (AddedToken& token : named_) {
      Listed* known = remember({token, std::nullopt});
      (known ? known->token : added_.back().token).named = true;
    }
    size_t bytes = out_->arena_.size();
    for (const Listed& listed : added_) bytes += listed.token.content.size();
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
    if (tokens.empty()) return refuse_file("there is not one token in it");
    if (unsorted_) number_texts();
    for (Listed& listed : added_) out_->added_.push_back(std::move(listed.token));
    std::ranges::sort(out_->added_, {}, &AddedToken::id);
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

  void warn(std::string sentence) { out_->warnings_.push_back(std::move(sentence)); }

  const std::string folder_;
  const std::vector<TokenizerFile>* files_;
  std::string current_;  // the file being read
  std::shared_ptr<Tokenizer> out_ = std::make_shared<Tokenizer>();
  std::vector<Entry> entries_;
  uint64_t trained_ = 0;           // tokens of the vocabulary proper
  std::vector<Listed> added_;      // in the order in which they get their ids
  std::vector<AddedToken> named_;  // special tokens with a name
  std::unordered_map<std::string, size_t> number_of_added_;
  std::optional<std::string> template_;
  std::vector<uint32_t> repeated_;
  bool last_counts_ = false;  // a text may occur again
  bool unsorted_ = false;
  bool has_decoder_ = false;  // added_tokens_decoder is there
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

Result<std::shared_ptr<const Tokenizer>> open_tokenizer(const std::string& folder) {
  return TokenizerParser(folder, nullptr).read();
}

Result<std::shared_ptr<const Tokenizer>> parse_tokenizer(const std::vector<TokenizerFile>& files,
                                                         const std::string& folder) {
  return TokenizerParser(folder, &files).read();
}

Result<std::optional<std::string>> read_chat_template(const std::string& folder) {
  return TokenizerParser(folder, nullptr).read_template();
}

bool is_opaque_vocabulary(std::string_view file_name) {
  return std::ranges::find(kOpaque, file_name) != kOpaque.end();
}

Result<std::vector<TokenizerFile>> read_tokenizer_files(const std::string& folder) {
  std::vector<TokenizerFile> files;
  std::vector<std::string_view> names(kReadable.begin(), kReadable.end());
  names.insert(names.end(), kOpaque.begin(), kOpaque.end());
  for (const std::string_view name : names) {
    const fs::path path = fs::path(folder) / name;
    if (!is_regular(path)) continue;
    HIERON_TRY(std::string text, read_text(path.string(), kMaxFileBytes));
    files.push_back({std::string(name), std::move(text)});
  }
  return files;
}

}  // namespace hieron
