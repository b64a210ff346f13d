#include "hieron/model/text_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "hieron/core/text.h"
#include "hieron/model/unicode_text.h"

namespace hieron {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxRules = 256;  // in a Sequence

// What is around the parts of a text that match, and what becomes of those.
enum class Behaviour : uint8_t { kRemoved, kIsolated, kWithPrevious, kWithNext, kContiguous };
constexpr std::array<std::string_view, 5> kBehaviours{"Removed", "Isolated", "MergedWithPrevious",
                                                      "MergedWithNext", "Contiguous"};

using Form = NormalForm::Kind;
constexpr std::array<std::pair<std::string_view, Form>, 4> kForms{
    {{"NFC", Form::kNfc}, {"NFD", Form::kNfd}, {"NFKC", Form::kNfkc}, {"NFKD", Form::kNfkd}}};

// GPT-2's words.
constexpr std::string_view kByteLevelWords =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// ---- settings

std::string kind_of(const Json& rule) {
  const auto type = rule.is_object() ? rule.find("type") : rule.end();
  return type != rule.end() && type->is_string() ? type->get<std::string>() : std::string();
}

std::unexpected<Error> wrong_setting(const Json& rule, const char* key, const char* what) {
  return refuse(fmt::format("\"{}\" of {} is not {}", key, printable(kind_of(rule), 60), what));
}

Result<std::string> text_of(const Json& rule, const char* key) {
  const auto found = rule.find(key);
  if (found == rule.end() || !found->is_string()) return wrong_setting(rule, key, "a text");
  return found->get<std::string>();
}

Result<bool> flag_of(const Json& rule, const char* key, std::optional<bool> otherwise = {}) {
  const auto found = rule.find(key);
  if (found == rule.end() && otherwise) return *otherwise;
  if (found == rule.end() || !found->is_boolean()) {
    return wrong_setting(rule, key, "true or false");
  }
  return found->get<bool>();
}

std::unexpected<Error> unknown_kind(const Json& rule, std::string_view what) {
  const std::string kind = kind_of(rule);
  if (kind.empty()) return refuse(fmt::format("its {} has no type", what));
  return refuse(
      fmt::format("its {} \"{}\" is none that is understood here", what, printable(kind, 60)));
}

// {"String": …} or {"Regex": …}
struct Sought {
  std::string text;              // to be found as it is, or
  std::optional<Pattern> regex;  // by this

  Result<std::vector<Stretch>> matches(std::string_view in) const {
    if (regex) return regex->matches(in);
    std::vector<Stretch> found;
    for (size_t at = in.find(text); at != in.npos; at = in.find(text, at + text.size())) {
      found.push_back({at, at + text.size()});
    }
    return found;
  }
};

Result<Sought> sought_of(const Json& rule) {
  const auto pattern = rule.find("pattern");
  if (pattern == rule.end() || !pattern->is_object() || pattern->size() != 1 ||
      !pattern->begin()->is_string() || pattern->begin()->get_ref<const std::string&>().empty()) {
    return wrong_setting(rule, "pattern", "a text or a regular expression");
  }
  Sought sought{pattern->begin()->get<std::string>(), std::nullopt};
  if (pattern->begin().key() == "String") return sought;
  if (pattern->begin().key() != "Regex") return wrong_setting(rule, "pattern", "String or Regex");
  HIERON_TRY(sought.regex, Pattern::compile(sought.text));
  return sought;
}

// ---- rewriting

Status check_size(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return {};
  return refuse(fmt::format("it makes more than {} of the text",
                            show_bytes(static_cast<uint64_t>(kMaxTextBytes))));
}

// Puts `with` in the place of every match.
Result<std::string> replaced(const std::string& text, const Sought& sought, std::string_view with) {
  HIERON_TRY(const std::vector<Stretch> found, sought.matches(text));
  std::string out;
  size_t done = 0;
  for (const Stretch& match : found) {
    out.append(text, done, match.begin - done).append(with);
    done = match.end;
    HIERON_CHECK(check_size(out));
  }
  out.append(text, done);
  HIERON_CHECK(check_size(out));
  return out;
}

std::string stripped(std::string_view text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    const auto [code, bytes] = character_at(text, begin);
    if (!is_white_space(code)) break;
    begin += bytes;
  }
  while (right && begin < end) {
    const auto [code, bytes] = character_before(text, end);
    if (!is_white_space(code)) break;
    end -= bytes;
  }
  return std::string(text.substr(begin, end - begin));
}

Result<Rewriting> parse_replace(const Json& rule) {
  HIERON_TRY(Sought sought, sought_of(rule));
  HIERON_TRY(std::string with, text_of(rule, "content"));
  if (sought.regex && with.contains('$')) {
    return refuse(
        fmt::format("the content \"{}\" of Replace, which may name parts of what was "
                    "found, is not understood",
                    printable(with, 60)));
  }
  return [sought = std::move(sought), with = std::move(with)](const std::string& text) {
    return replaced(text, sought, with);
  };
}

Result<Rewriting> parse_rewriting(const Json& rule) {
  const std::string kind = kind_of(rule);
  const auto named = std::ranges::find(kForms, kind, &std::pair<std::string_view, Form>::first);
  if (named != kForms.end()) {
    HIERON_TRY(NormalForm form, NormalForm::make(named->second));
    return [form = std::move(form)](const std::string& text) { return form.of(text); };
  }
  if (kind == "Lowercase") return [](const std::string& text) { return small_letters(text); };
  if (kind == "Replace") return parse_replace(rule);
  if (kind == "Strip") {
    HIERON_TRY(const bool left, flag_of(rule, "strip_left"));
    HIERON_TRY(const bool right, flag_of(rule, "strip_right"));
    return [=](const std::string& text) { return stripped(text, left, right); };
  }
  if (kind == "Prepend") {
    HIERON_TRY(std::string with, text_of(rule, "prepend"));
    return [with = std::move(with)](const std::string& text) {
      return text.empty() ? text : with + text;
    };
  }
  return unknown_kind(rule, "normalizer");
}

// ---- cutting

struct Part {
  Stretch stretch;
  bool match;
};

std::vector<Part> parts_of(size_t bytes, const std::vector<Stretch>& matches) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Stretch& match : matches) {
    if (done < match.begin) parts.push_back({{done, match.begin}, false});
    parts.push_back({match, true});
    done = match.end;
  }
  if (done < bytes) parts.push_back({{done, bytes}, false});
  return parts;
}

// Which parts stay together; those that match may vanish.
std::vector<Stretch> joined(const std::vector<Part>& parts, Behaviour behaviour) {
  std::vector<Stretch> kept;
  bool joins = false;  // the next part belongs to the last one kept
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto [stretch, match] = parts[i];
    if (behaviour == Behaviour::kRemoved && match) continue;
    if (behaviour == Behaviour::kContiguous) joins = i > 0 && parts[i - 1].match == match;
    if (behaviour == Behaviour::kWithPrevious) joins = i > 0 && match && !parts[i - 1].match;
    if (behaviour == Behaviour::kWithNext) joins = i > 0 && !match && parts[i - 1].match;
    if (joins) {
      kept.back().end = stretch.end;
    } else {
      kept.push_back(stretch);
    }
  }
  return kept;
}

using Finding = std::function<Result<std::vector<Stretch>>(std::string_view)>;

Cutting cut_at(Finding find, Behaviour behaviour, bool invert) {
  return [=, find = std::move(find)](
             const std::vector<TextPiece>& pieces) -> Result<std::vector<TextPiece>> {
    std::vector<TextPiece> out;
    for (const TextPiece& piece : pieces) {
      HIERON_TRY(const std::vector<Stretch> found, find(piece.text));
      std::vector<Part> parts = parts_of(piece.text.size(), found);
      for (Part& part : parts) part.match = part.match != invert;
      for (const auto& [begin, end] : joined(parts, behaviour)) {
        out.push_back({piece.text.substr(begin, end - begin), piece.first && begin == 0});
      }
    }
    return out;
  };
}

Finding each_character(bool (*is)(char32_t)) {
  return [is](std::string_view text) -> Result<std::vector<Stretch>> {
    std::vector<Stretch> found;
    for (size_t at = 0; at < text.size();) {
      const auto [code, bytes] = character_at(text, at);
      if (is(code)) found.push_back({at, at + bytes});
      at += bytes;
    }
    return found;
  };
}

Result<Behaviour> behaviour_of(const Json& rule, std::optional<Behaviour> otherwise = {}) {
  if (otherwise && !rule.contains("behavior")) return *otherwise;
  HIERON_TRY(const std::string name, text_of(rule, "behavior"));
  const auto at = std::ranges::find(kBehaviours, name);
  if (at == kBehaviours.end()) return wrong_setting(rule, "behavior", "one that is understood");
  return static_cast<Behaviour>(at - kBehaviours.begin());
}

// GPT-2's names of the 256 bytes: those that show themselves as they are, the others by the
// characters from U+0100 on.
std::array<std::string, 256> byte_names() {
  std::array<std::string, 256> names;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool shown = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    append_character(names[byte], shown ? byte : next++);
  }
  return names;
}

Result<Cutting> parse_byte_level(const Json& rule) {
  HIERON_TRY(const bool space, flag_of(rule, "add_prefix_space"));
  HIERON_TRY(const bool words, flag_of(rule, "use_regex", true));
  Cutting cut;
  if (words) {
    HIERON_TRY(Pattern pattern, Pattern::compile(kByteLevelWords));
    cut = cut_at([=](std::string_view text) { return pattern.matches(text); }, Behaviour::kIsolated,
                 false);
  }
  return [=, cut = std::move(cut),
          names = byte_names()](std::vector<TextPiece> pieces) -> Result<std::vector<TextPiece>> {
    for (TextPiece& piece : pieces) {
      if (space && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    }
    if (cut) {
      HIERON_TRY(pieces, cut(std::move(pieces)));
    }
    for (TextPiece& piece : pieces) {
      std::string named;
      for (const char c : piece.text) named += names[static_cast<uint8_t>(c)];
      piece.text = std::move(named);
    }
    return pieces;
  };
}

// "always", "first", "never"; older files have add_prefix_space instead.
Result<std::string> prefix_of(const Json& rule) {
  HIERON_TRY(const bool prefix, flag_of(rule, "add_prefix_space", true));
  if (!rule.contains("prepend_scheme")) return prefix ? "always" : "never";
  HIERON_TRY(std::string scheme, text_of(rule, "prepend_scheme"));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return wrong_setting(rule, "prepend_scheme", "always, first or never");
  }
  return scheme;
}

Result<Cutting> parse_metaspace(const Json& rule) {
  HIERON_TRY(const std::string space, text_of(rule, "replacement"));
  if (space.empty()) return wrong_setting(rule, "replacement", "a character");
  HIERON_TRY(const std::string scheme, prefix_of(rule));
  HIERON_TRY(const bool split, flag_of(rule, "split", true));
  const Sought spaces{" ", std::nullopt};
  const Sought marks{space, std::nullopt};
  const Cutting cut = cut_at([=](std::string_view text) { return marks.matches(text); },
                             Behaviour::kWithNext, false);
  return [=](std::vector<TextPiece> pieces) -> Result<std::vector<TextPiece>> {
    for (TextPiece& piece : pieces) {
      HIERON_TRY(piece.text, replaced(piece.text, spaces, space));
      const bool wanted = scheme == "always" || (scheme == "first" && piece.first);
      if (wanted && !piece.text.starts_with(space)) piece.text.insert(0, space);
    }
    if (split) return cut(std::move(pieces));
    return pieces;
  };
}

Result<Cutting> parse_split(const Json& rule) {
  HIERON_TRY(Sought sought, sought_of(rule));
  HIERON_TRY(const Behaviour behaviour, behaviour_of(rule));
  HIERON_TRY(const bool invert, flag_of(rule, "invert"));
  return cut_at(
      [sought = std::move(sought)](std::string_view text) { return sought.matches(text); },
      behaviour, invert);
}

Result<Cutting> parse_cutting(const Json& rule) {
  const std::string kind = kind_of(rule);
  if (kind == "ByteLevel") return parse_byte_level(rule);
  if (kind == "Metaspace") return parse_metaspace(rule);
  if (kind == "Split") return parse_split(rule);
  if (kind == "Digits") {
    HIERON_TRY(const bool each, flag_of(rule, "individual_digits"));
    const Behaviour behaviour = each ? Behaviour::kIsolated : Behaviour::kContiguous;
    return cut_at(each_character(is_numeric), behaviour, false);
  }
  if (kind == "Punctuation") {
    HIERON_TRY(const Behaviour behaviour, behaviour_of(rule, Behaviour::kIsolated));
    return cut_at(each_character(is_punctuation), behaviour, false);
  }
  if (kind == "WhitespaceSplit") {
    return cut_at(each_character(is_white_space), Behaviour::kRemoved, false);
  }
  if (kind == "Whitespace") {
    HIERON_TRY(Pattern words, Pattern::compile("\\w+|[^\\w\\s]+"));
    return cut_at([=](std::string_view text) { return words.matches(text); }, Behaviour::kRemoved,
                  true);
  }
  return unknown_kind(rule, "pre_tokenizer");
}

// ---- sequences

// The rules of a Sequence one by one, those of Sequences in it too.
Status flatten(const Json& rule, const char* list, std::vector<Json>& rules) {
  if (rule.is_null()) return {};
  if (rules.size() >= kMaxRules) return refuse(fmt::format("it has over {} rules", kMaxRules));
  if (kind_of(rule) != "Sequence") {
    rules.push_back(rule);
    return {};
  }
  const auto inner = rule.find(list);
  if (inner == rule.end() || !inner->is_array()) return wrong_setting(rule, list, "a list");
  for (const Json& one : *inner) HIERON_CHECK(flatten(one, list, rules));
  return {};
}

// One function that does what all of them do, one after the other.
template <class Rule>
Result<Rule> in_turn(std::string_view json, const char* list, Result<Rule> (*parse)(const Json&)) {
  const Json root = Json::parse(json, nullptr, false);
  if (root.is_discarded()) return refuse("it is not valid JSON");
  std::vector<Json> rules;
  HIERON_CHECK(flatten(root, list, rules));
  std::vector<Rule> all;
  for (const Json& rule : rules) {
    HIERON_TRY(Rule parsed, parse(rule));
    all.push_back(std::move(parsed));
  }
  return [all = std::move(all)](auto text) -> typename Rule::result_type {
    for (const Rule& rule : all) {
      HIERON_TRY(text, rule(std::move(text)));
    }
    return text;
  };
}

}  // namespace

Result<Rewriting> parse_normalizer(std::string_view json) {
  return in_turn<Rewriting>(json, "normalizers", parse_rewriting);
}

Result<Cutting> parse_pre_tokenizer(std::string_view json) {
  return in_turn<Cutting>(json, "pretokenizers", parse_cutting);
}

}  // namespace hieron
