// The tokenizer files of a merge: the donor's text, with tokens inserted and dropped.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/merge/json_text.h"
#include "hieron/merge/tokens.h"

namespace hieron {
namespace {

namespace jt = json_text;

using Texts = std::unordered_set<std::string_view>;

std::string_view truth(bool value) { return value ? "true" : "false"; }

// The flags of an added token as JSON members, each after `lead`.
std::string flags(const AddedToken& token, std::string_view lead) {
  std::string out;
  const std::pair<std::string_view, bool> all[] = {{"single_word", token.single_word},
                                                   {"lstrip", token.lstrip},
                                                   {"rstrip", token.rstrip},
                                                   {"normalized", token.normalized},
                                                   {"special", token.special}};
  for (const auto& [key, value] : all) {
    out += fmt::format(",{}\"{}\": {}", lead, key, truth(value));
  }
  return out;
}

// Line breaks are for texts that have them.
std::string lead(bool lines, int indent) {
  return lines ? fmt::format("\n{:{}}", "", indent) : std::string();
}

std::string entry_of_list(const AddedToken& token, bool lines) {
  const std::string in = lead(lines, 6);
  return fmt::format("{{{}\"id\": {},{}\"content\": {}{}{}}}", in, token.id, in,
                     jt::quoted(token.content), flags(token, in), lead(lines, 4));
}

std::string entry_of_decoder(const AddedToken& token, bool lines) {
  const std::string in = lead(lines, 6);
  return fmt::format("\"{}\": {{{}\"content\": {}{}{}}}", token.id, in, jt::quoted(token.content),
                     flags(token, in), lead(lines, 4));
}

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9' || value > kMaxTokenIds) break;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

std::string content_of(std::string_view token_object) {
  const auto content = jt::find(token_object, "content");
  return content && content->starts_with('"') ? jt::unquoted(*content) : std::string();
}

class FileWriter {
 public:
  explicit FileWriter(const TokenPlan& plan) : plan_(plan) {
    for (const std::string& text : plan.dropped) dropped_.insert(text);
    for (const AddedToken& token : plan.added) added_.emplace(token.content, &token);
  }

  Result<std::vector<TokenizerFile>> write() {
    HIERON_TRY(std::vector<TokenizerFile> files, read_tokenizer_files(plan_.tokenizer->folder()));
    if (plan_.added.empty() && plan_.dropped.empty()) return files;
    whole_ = text_of(files, "tokenizer.json") != nullptr;
    if (const auto* config = text_of(files, "tokenizer_config.json")) {
      HIERON_CHECK(jt::check_object(*config, "tokenizer_config.json"));
      decoder_ = jt::find(*config, "added_tokens_decoder").has_value();
    }
    if (const auto* names = text_of(files, "special_tokens_map.json")) names_ = *names;
    add_missing(files);
    for (TokenizerFile& file : files) HIERON_CHECK(rewrite(file));
    // Tokens behind those of a tokenizer that is as it says it is get the next ids in any case.
    const bool sure = whole_ && plan_.dropped.empty() && plan_.tokenizer->warnings().empty();
    if (!sure) HIERON_CHECK(check(files));
    return files;
  }

 private:
  static const std::string* text_of(const std::vector<TokenizerFile>& files,
                                    std::string_view name) {
    const auto found = std::ranges::find(files, name, &TokenizerFile::name);
    return found == files.end() ? nullptr : &found->text;
  }

  // Where tokens that were added are to be listed, if nothing lists any: a folder without
  // tokenizer.json does it in the config; one with a tokenizer.model also for programs that read
  // that.
  void add_missing(std::vector<TokenizerFile>& files) const {
    const bool pieces = text_of(files, "tokenizer.model") != nullptr;
    if (whole_ && pieces && !decoder_ && !text_of(files, "added_tokens.json")) {
      files.push_back({"added_tokens.json", "{}\n"});
    }
    if (whole_ || decoder_) return;
    const std::string with_decoder = "{\n  \"added_tokens_decoder\": {}\n}\n";
    const auto config = std::ranges::find(files, "tokenizer_config.json", &TokenizerFile::name);
    if (config == files.end()) {
      files.push_back({"tokenizer_config.json", with_decoder});
    } else if (jt::members(config->text).empty()) {
      config->text = with_decoder;
    }
  }

  // Do the new files give each token the id that the plan has?
  Status check(const std::vector<TokenizerFile>& files) const {
    const std::string& folder = plan_.tokenizer->folder();
    HIERON_TRY(const auto written, parse_tokenizer(files, folder));
    const auto differ = std::ranges::find_if(written->tokens(), [&](const Token& token) {
      const auto added = added_.find(token.text);
      return added != added_.end()
                 ? added->second->id != token.id
                 : dropped_.contains(token.text) || plan_.tokenizer->id(token.text) != token.id;
    });
    if (differ == written->tokens().end() && written->tokens().size() == plan_.tokens) return {};
    const std::string_view text =
        differ == written->tokens().end() ? std::string_view() : differ->text;
    return refuse(
        fmt::format("{}: the tokenizer cannot be written with the result's tokens: transformers "
                    "would not give \"{}\" the id that its row has; take another model's tokenizer "
                    "(tokenizer: {{source: …}}).",
                    printable(folder), printable(text, 60)),
        folder);
  }

  Status rewrite(TokenizerFile& file) const {
    if (plan_.replay && file.name == "tokenizer.json") HIERON_CHECK(check_replayed(file.text));
    using Rewriting = void (FileWriter::*)(std::string_view, jt::Edits&) const;
    const std::pair<std::string_view, Rewriting> all[] = {
        {"tokenizer.json", &FileWriter::tokenizer_json},
        {"tokenizer_config.json", &FileWriter::tokenizer_config},
        {"special_tokens_map.json", &FileWriter::special_names},
        {"added_tokens.json", &FileWriter::added_ids},
        {"vocab.json", &FileWriter::vocab_json}};
    if (file.name == "merges.txt") file.text = trimmed_merges(file.text);
    if (file.name == "vocab.txt") file.text = trimmed_lines(file.text);
    for (const auto& [name, rewriting] : all) {
      if (file.name != name) continue;
      HIERON_CHECK(
          jt::check_object(file.text, fmt::format("{}/{}", plan_.tokenizer->folder(), name)));
      jt::Edits edits(file.text);
      (this->*rewriting)(file.text, edits);
      if (!edits.empty()) file.text = std::move(edits).apply();
    }
    return {};
  }

  // mergekit removes merges of dropped tokens, but not those that make one.
  Status check_replayed(std::string_view text) const {
    const auto model = jt::find(text, "model");
    const auto merges = dropped_.empty() || !model ? std::nullopt : jt::find(*model, "merges");
    if (!merges || !merges->starts_with('[')) return {};
    for (const std::string_view merge : jt::elements(*merges)) {
      const auto [left, right] = parts_of(merge);
      if (dropped_.contains(left) || dropped_.contains(right)) continue;
      if (!dropped_.contains(left + right)) continue;
      return refuse(
          fmt::format("mergekit fails because a merge makes the token \"{}\", which is "
                      "beyond vocab_size (Exception: out of vocabulary); merge in exact "
                      "arithmetic, which does it.",
                      printable(left + right, 60)));
    }
    return {};
  }

  // Dropped, and not put in again from another model?
  bool gone(std::string_view text) const {
    return dropped_.contains(text) && !added_.contains(text);
  }

  // ---- tokenizer.json

  void tokenizer_json(std::string_view text, jt::Edits& edits) const {
    const auto list = jt::find(text, "added_tokens");
    const std::string_view old = list && list->starts_with('[') ? *list : "[]";
    const bool lines = text.find('\n') != text.npos;
    // The list is all that counts: a token that only another file adds would be numbered after
    // these. An entry keeps its text unless it states another id.
    std::unordered_map<std::string, std::string_view> present;
    for (const std::string_view entry : jt::elements(old)) {
      if (number(jt::find(entry, "id").value_or("")) == plan_.tokenizer->id(content_of(entry))) {
        present.emplace(content_of(entry), entry);
      }
    }
    std::vector<std::pair<uint64_t, std::string>> entries;
    for (const AddedToken& token : kept_and_added()) {
      const auto entry = present.find(token.content);
      const bool as_it_was = entry != present.end() && !added_.contains(token.content);
      entries.emplace_back(token.id,
                           as_it_was ? std::string(entry->second) : entry_of_list(token, lines));
    }
    std::ranges::stable_sort(entries, {}, [](const auto& entry) { return entry.first; });
    std::vector<std::string> parts;
    for (auto& [id, entry] : entries) parts.push_back(std::move(entry));
    const bool bare = jt::elements(old).empty() && lines;
    if (list || !parts.empty()) {
      edits.set(text, "added_tokens", jt::container(bare ? "[\n    0\n  ]" : old, parts));
    }
    if (dropped_.empty()) return;
    if (const auto model = jt::find(text, "model")) trim_model(*model, edits);
  }

  std::vector<AddedToken> kept_and_added() const {
    std::vector<AddedToken> all;
    for (const AddedToken& token : plan_.tokenizer->added()) {
      if (!dropped_.contains(token.content) && !added_.contains(token.content)) {
        all.push_back(token);
      }
    }
    all.insert(all.end(), plan_.added.begin(), plan_.added.end());
    return all;
  }

  void trim_model(std::string_view model, jt::Edits& edits) const {
    if (const auto vocab = jt::find(model, "vocab")) trim_vocabulary(*vocab, edits);
    const auto merges = jt::find(model, "merges");
    if (!merges || !merges->starts_with('[')) return;
    std::vector<std::string> kept;
    const std::vector<std::string_view> all = jt::elements(*merges);
    for (const std::string_view merge : all) {
      if (can_merge(parts_of(merge))) kept.emplace_back(merge);
    }
    if (kept.size() < all.size()) edits.replace(*merges, jt::container(*merges, kept));
  }

  // "a b" or ["a", "b"]
  static std::pair<std::string, std::string> parts_of(std::string_view merge) {
    if (merge.starts_with('[')) {
      const auto parts = jt::elements(merge);
      if (parts.size() != 2) return {};
      return {jt::unquoted(parts[0]), jt::unquoted(parts[1])};
    }
    const std::string both = jt::unquoted(merge);
    const size_t space = both.find(' ');
    if (space == both.npos) return {};
    return {both.substr(0, space), both.substr(space + 1)};
  }

  // A merge needs its two parts and what they make.
  bool can_merge(const std::pair<std::string, std::string>& merge) const {
    const auto& [left, right] = merge;
    return !dropped_.contains(left) && !dropped_.contains(right) &&
           !dropped_.contains(left + right);
  }

  template <class Keep>
  static std::string lines_that(std::string_view text, const Keep& keep) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
      std::string_view line = text.substr(at, end - at);
      while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
      if (keep(line)) out += text.substr(at, end - at);
      at = end;
    }
    return out;
  }

  std::string trimmed_merges(std::string_view text) const {
    if (dropped_.empty()) return std::string(text);
    return lines_that(text, [&](std::string_view line) {
      const size_t space = line.find(' ');
      if (space == line.npos || line.starts_with("#version")) return true;
      return can_merge({std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
    });
  }

  std::string trimmed_lines(std::string_view text) const {
    return lines_that(text, [&](std::string_view line) { return !dropped_.contains(line); });
  }

  void trim_vocabulary(std::string_view vocab, jt::Edits& edits) const {
    std::vector<std::string> kept;
    size_t all = 0;
    if (vocab.starts_with('[')) {  // [text, score], by id
      for (const std::string_view piece : jt::elements(vocab)) {
        ++all;
        const auto parts = jt::elements(piece);
        if (!parts.empty() && dropped_.contains(jt::unquoted(parts[0]))) continue;
        kept.emplace_back(piece);
      }
    } else {
      for (const jt::Member& member : jt::members(vocab)) {
        ++all;
        if (dropped_.contains(jt::unquoted(member.key))) continue;
        kept.push_back(fmt::format("{}: {}", member.key, member.value));
      }
    }
    if (kept.size() < all) edits.replace(vocab, jt::container(vocab, kept));
  }

  void vocab_json(std::string_view text, jt::Edits& edits) const {
    if (!dropped_.empty()) trim_vocabulary(text.substr(text.find('{')), edits);
  }

  // ---- tokenizer_config.json, special_tokens_map.json, added_tokens.json

  void tokenizer_config(std::string_view text, jt::Edits& edits) const {
    special_names(text, edits);
    const auto decoder = jt::find(text, "added_tokens_decoder");
    if (!decoder && whole_) return;  // tokenizer.json says it
    if (!decoder_) adopt_names(text, edits);
    const std::string_view old = decoder && decoder->starts_with('{') ? *decoder : "{}";
    const bool lines = text.find('\n') != text.npos;
    std::unordered_map<std::string, std::string> present;
    for (const jt::Member& member : jt::members(old)) {
      const std::string content = content_of(member.value);
      if (number(jt::unquoted(member.key)) != plan_.tokenizer->id(content)) continue;
      present.emplace(content, fmt::format("{}: {}", member.key, member.value));
    }
    std::vector<std::pair<uint64_t, std::string>> entries;
    for (const AddedToken& token : kept_and_added()) {
      const auto entry = present.find(token.content);
      const bool as_it_was = entry != present.end() && !added_.contains(token.content);
      entries.emplace_back(token.id, as_it_was ? entry->second : entry_of_decoder(token, lines));
    }
    std::ranges::stable_sort(entries, {}, [](const auto& entry) { return entry.first; });
    std::vector<std::string> parts;
    for (auto& [id, entry] : entries) parts.push_back(std::move(entry));
    const bool bare = jt::members(old).empty() && lines;
    edits.set(text, "added_tokens_decoder", jt::container(bare ? "{\n    0\n  }" : old, parts));
  }

  // transformers reads special_tokens_map.json only where there is no added_tokens_decoder.
  void adopt_names(std::string_view text, jt::Edits& edits) const {
    if (names_.empty()) return;
    for (const jt::Member& member : jt::members(names_)) {
      const std::string key = jt::unquoted(member.key);
      const bool wanted = !jt::find(text, key) && !names_gone(member.value);
      if (wanted) edits.set(text, key, std::string(member.value));
    }
  }

  // A special token that is named but not there would be given a new id, for which there is no row.
  void special_names(std::string_view text, jt::Edits& edits) const {
    if (dropped_.empty()) return;
    for (const jt::Member& member : jt::members(text)) {
      const std::string key = jt::unquoted(member.key);
      if (key.ends_with("_token") && names_gone(member.value)) edits.replace(member.value, "null");
      if (!key.ends_with("_special_tokens") || !member.value.starts_with('[')) continue;
      std::vector<std::string> kept;
      const auto all = jt::elements(member.value);
      for (const std::string_view token : all) {
        if (!names_gone(token)) kept.emplace_back(token);
      }
      if (kept.size() < all.size()) edits.replace(member.value, jt::container(member.value, kept));
    }
  }

  bool names_gone(std::string_view value) const {
    if (value.starts_with('"')) return gone(jt::unquoted(value));
    return value.starts_with('{') && gone(content_of(value));
  }

  void added_ids(std::string_view text, jt::Edits& edits) const {
    std::vector<std::string> parts;
    const std::string_view object = text.substr(text.find('{'));
    for (const jt::Member& member : jt::members(object)) {
      const std::string content = jt::unquoted(member.key);
      if (dropped_.contains(content) || added_.contains(content)) continue;
      parts.push_back(fmt::format("{}: {}", member.key, member.value));
    }
    for (const AddedToken& token : plan_.added) {
      parts.push_back(fmt::format("{}: {}", jt::quoted(token.content), token.id));
    }
    edits.replace(object.substr(0, object.rfind('}') + 1), jt::container(trimmed(object), parts));
  }

  static std::string_view trimmed(std::string_view object) {
    return object.substr(0, object.rfind('}') + 1);
  }

  const TokenPlan& plan_;
  Texts dropped_;
  std::unordered_map<std::string_view, const AddedToken*> added_;
  bool whole_ = false, decoder_ = false;  // there is a tokenizer.json, an added_tokens_decoder
  std::string names_;                     // special_tokens_map.json
};

// ---- token ids in configs

bool names_token_ids(std::string_view key) {
  constexpr std::array<std::string_view, 3> kEnds{"_token_id", "_token_ids", "_token_index"};
  return key == "suppress_tokens" || key == "begin_suppress_tokens" || key == "bad_words_ids" ||
         std::ranges::any_of(kEnds, [&](std::string_view end) { return key.ends_with(end); });
}

class TokenIds {
 public:
  TokenIds(const Tokenizer& from, const TokenPlan& plan, std::vector<std::string>& missing)
      : from_(from), plan_(plan), missing_(missing) {}

  void rewrite(std::string_view object, jt::Edits& edits) {
    for (const jt::Member& member : jt::members(object)) {
      const std::string key = jt::unquoted(member.key);
      if (member.value.starts_with('{')) {
        rewrite(member.value, edits);
      } else if (names_token_ids(key)) {
        renumber(key, member.value, edits);
      }
    }
  }

 private:
  // A number, or a list of them, of any depth. -1 and null stand for no token.
  void renumber(const std::string& key, std::string_view value, jt::Edits& edits) {
    if (value.starts_with('[')) {
      for (const std::string_view element : jt::elements(value)) renumber(key, element, edits);
      return;
    }
    if (value.empty() || value.find_first_not_of("0123456789") != value.npos) return;
    const uint64_t id = number(value);
    const auto text = id < kMaxTokenIds ? from_.text(static_cast<uint32_t>(id)) : std::nullopt;
    if (!text) return;
    const auto now = plan_.id(*text);
    if (!now) {
      missing_.push_back(fmt::format("{} ({}, \"{}\")", key, id, printable(*text, 60)));
    } else if (*now != id) {
      edits.replace(value, fmt::format("{}", *now));
    }
  }

  const Tokenizer& from_;
  const TokenPlan& plan_;
  std::vector<std::string>& missing_;
};

}  // namespace

Result<std::vector<TokenizerFile>> tokenizer_files(const TokenPlan& plan) {
  return FileWriter(plan).write();
}

std::string with_token_ids(const std::string& config, const Tokenizer& from, const TokenPlan& plan,
                           std::vector<std::string>& missing) {
  if (!jt::check_object(config, {})) return config;
  jt::Edits edits(config);
  TokenIds(from, plan, missing).rewrite(config, edits);
  return std::move(edits).apply();
}

}  // namespace hieron
