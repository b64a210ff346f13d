// The tokenizer files of a merge: the donor's text, with tokens inserted and dropped.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/merge/json_text.h"
#include "hieron/merge/tokens.h"

namespace hieron {
namespace {

namespace jt = json_text;

using Dropped = std::unordered_set<std::string_view>;

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
  return lines ? "\n" + std::string(static_cast<size_t>(indent), ' ') : std::string();
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
    for (const AddedToken& token : plan.added) added_.insert(token.content);
  }

  Result<std::vector<TokenizerFile>> write() {
    HIERON_TRY(std::vector<TokenizerFile> files, read_tokenizer_files(plan_.tokenizer->folder()));
    if (plan_.added.empty() && plan_.dropped.empty()) return files;
    whole_ = std::ranges::any_of(files, [](const auto& f) { return f.name == "tokenizer.json"; });
    for (TokenizerFile& file : files) HIERON_CHECK(rewrite(file));
    if (!whole_) add_missing(files);
    return files;
  }

 private:
  Status rewrite(TokenizerFile& file) const {
    using Rewriting = void (FileWriter::*)(std::string_view, jt::Edits&) const;
    const std::pair<std::string_view, Rewriting> all[] = {
        {"tokenizer.json", &FileWriter::tokenizer_json},
        {"tokenizer_config.json", &FileWriter::tokenizer_config},
        {"special_tokens_map.json", &FileWriter::special_names},
        {"added_tokens.json", &FileWriter::added_ids},
        {"vocab.json", &FileWriter::vocab_json}};
    for (const auto& [name, rewriting] : all) {
      if (file.name != name) continue;
      HIERON_CHECK(
          jt::check_object(file.text, plan_.tokenizer->folder() + "/" + std::string(name)));
      jt::Edits edits(file.text);
      (this->*rewriting)(file.text, edits);
      if (!edits.empty()) file.text = std::move(edits).apply();
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
    std::vector<std::pair<uint64_t, std::string>> entries;
    for (const std::string_view entry : jt::elements(old)) {
      const std::string content = content_of(entry);
      if (dropped_.contains(content) || added_.contains(content)) continue;
      entries.emplace_back(number(jt::find(entry, "id").value_or("0")), entry);
    }
    for (const AddedToken& token : plan_.added) {
      entries.emplace_back(token.id, entry_of_list(token, lines));
    }
    std::ranges::stable_sort(entries, {}, [](const auto& entry) { return entry.first; });
    std::vector<std::string> parts;
    for (auto& [id, entry] : entries) parts.push_back(std::move(entry));
    const bool bare = jt::elements(old).empty() && lines;
    edits.set(text, "added_tokens", jt::container(bare ? "[\n    0\n  ]" : old, parts));
    if (dropped_.empty()) return;
    if (const auto model = jt::find(text, "model")) trim_model(*model, edits);
  }

  void trim_model(std::string_view model, jt::Edits& edits) const {
    if (const auto vocab = jt::find(model, "vocab")) trim_vocabulary(*vocab, edits);
    const auto merges = jt::find(model, "merges");
    if (!merges || !merges->starts_with('[')) return;
    std::vector<std::string> kept;
    const std::vector<std::string_view> all = jt::elements(*merges);
    for (const std::string_view merge : all) {
      if (can_merge(merge)) kept.emplace_back(merge);
    }
    if (kept.size() < all.size()) edits.replace(*merges, jt::container(*merges, kept));
  }

  // A merge needs its two parts and what they make: "a b" or ["a", "b"].
  bool can_merge(std::string_view merge) const {
    std::string left, right;
    if (merge.starts_with('[')) {
      const auto parts = jt::elements(merge);
      if (parts.size() != 2) return true;
      left = jt::unquoted(parts[0]);
      right = jt::unquoted(parts[1]);
    } else {
      const std::string both = jt::unquoted(merge);
      const size_t space = both.find(' ');
      if (space == both.npos) return true;
      left = both.substr(0, space);
      right = both.substr(space + 1);
    }
    return !dropped_.contains(left) && !dropped_.contains(right) &&
           !dropped_.contains(left + right);
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
    const std::string_view old = decoder && decoder->starts_with('{') ? *decoder : "{}";
    const bool lines = text.find('\n') != text.npos;
    std::vector<std::pair<uint64_t, std::string>> entries;
    for (const jt::Member& member : jt::members(old)) {
      const std::string content = content_of(member.value);
      if (dropped_.contains(content) || added_.contains(content)) continue;
      entries.emplace_back(number(jt::unquoted(member.key)),
                           fmt::format("{}: {}", member.key, member.value));
    }
    for (const AddedToken& token : plan_.added) {
      entries.emplace_back(token.id, entry_of_decoder(token, lines));
    }
    std::ranges::stable_sort(entries, {}, [](const auto& entry) { return entry.first; });
    std::vector<std::string> parts;
    for (auto& [id, entry] : entries) parts.push_back(std::move(entry));
    const bool bare = jt::members(old).empty() && lines;
    edits.set(text, "added_tokens_decoder", jt::container(bare ? "{\n    0\n  }" : old, parts));
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

  // A folder without tokenizer.json says in tokenizer_config.json which tokens were added.
  void add_missing(std::vector<TokenizerFile>& files) const {
    const auto config = std::ranges::find(files, "tokenizer_config.json", &TokenizerFile::name);
    if (config != files.end()) return;
    const std::string_view empty = "{\n}\n";
    jt::Edits edits(empty);
    tokenizer_config(empty, edits);
    files.push_back({"tokenizer_config.json", std::move(edits).apply()});
  }

  const TokenPlan& plan_;
  Dropped dropped_, added_;
  bool whole_ = false;  // there is a tokenizer.json
};

}  // namespace

Result<std::vector<TokenizerFile>> tokenizer_files(const TokenPlan& plan) {
  return FileWriter(plan).write();
}

}  // namespace hieron
