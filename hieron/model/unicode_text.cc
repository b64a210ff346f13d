#include "hieron/model/unicode_text.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/uregex.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "hieron/core/text.h"

namespace hieron {
namespace {

constexpr size_t kMaxPattern = 64u << 10;
constexpr int32_t kMaxStack = 256 << 20;  // bytes, to go back by
// In Ruby ^ and $ are ends of lines, and only \n ends one.
constexpr uint32_t kFlags = UREGEX_MULTILINE | UREGEX_UNIX_LINES;
// Letters that mean the same after a backslash.
constexpr std::string_view kEscapes = "sSdDwWpPbBAzZnrtfeaxuRX";

// In ten thousands. A word as long as the text takes one or two a byte.
int32_t max_steps(size_t bytes) { return static_cast<int32_t>(100 + bytes / 500); }

struct CloseRegex {
  void operator()(URegularExpression* regex) const { uregex_close(regex); }
};
using Regex = std::unique_ptr<URegularExpression, CloseRegex>;

struct CloseText {
  void operator()(UText* text) const { utext_close(text); }
};

// The part of a pattern that Oniguruma and ICU read differently; empty if there is none.
std::string_view ambiguous(std::string_view regex) {
  for (size_t i = 0; i + 1 < regex.size(); ++i) {
    if (regex[i] == '\\') {
      const char c = regex[++i];
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (letter && !kEscapes.contains(c)) return regex.substr(i - 1, 2);
    } else if (regex.substr(i).starts_with("(?")) {
      const std::string_view flags = regex.substr(i + 2);
      const size_t end = flags.find_first_not_of("abcdefghijklmnopqrstuvwxyz-");
      const std::string_view set = flags.substr(0, std::min(end, flags.size()));
      if (set.find_first_not_of("i-") != set.npos) return regex.substr(i, set.size() + 2);
    }
  }
  return {};
}

std::unexpected<Error> no_pattern(std::string_view regex, UErrorCode code) {
  return refuse(fmt::format("the pattern \"{}\" is not understood ({})", printable(regex, 200),
                            u_errorName(code)));
}

}  // namespace

struct Pattern::Compiled {
  std::string text;
  Regex regex;
};

Result<Pattern> Pattern::compile(std::string_view regex) {
  if (regex.size() > kMaxPattern) {
    return refuse(fmt::format("a pattern of {} is longer than any in use",
                              show_bytes(static_cast<uint64_t>(regex.size()))));
  }
  if (const std::string_view part = ambiguous(regex); !part.empty()) {
    return refuse(fmt::format("\"{}\" in the pattern \"{}\" is not understood", printable(part),
                              printable(regex, 200)));
  }
  UErrorCode code = U_ZERO_ERROR;
  UText source = UTEXT_INITIALIZER;
  const std::unique_ptr<UText, CloseText> text(
      utext_openUTF8(&source, regex.data(), static_cast<int64_t>(regex.size()), &code));
  UParseError where;
  Regex compiled(uregex_openUText(text.get(), kFlags, &where, &code));
  if (U_FAILURE(code)) return no_pattern(regex, code);
  Pattern pattern;
  pattern.compiled_ =
      std::make_shared<const Compiled>(Compiled{std::string(regex), std::move(compiled)});
  return pattern;
}

Result<std::vector<Stretch>> Pattern::matches(std::string_view text) const {
  UErrorCode code = U_ZERO_ERROR;
  UText source = UTEXT_INITIALIZER;
  const std::unique_ptr<UText, CloseText> bytes(
      utext_openUTF8(&source, text.data(), static_cast<int64_t>(text.size()), &code));
  const Regex regex(uregex_clone(compiled_->regex.get(), &code));  // it keeps its place in the text
  uregex_setTimeLimit(regex.get(), max_steps(text.size()), &code);
  uregex_setStackLimit(regex.get(), kMaxStack, &code);
  uregex_setUText(regex.get(), bytes.get(), &code);
  std::vector<Stretch> found;
  while (uregex_findNext(regex.get(), &code) && U_SUCCESS(code)) {
    const auto begin = static_cast<size_t>(uregex_start64(regex.get(), 0, &code));
    const auto end = static_cast<size_t>(uregex_end64(regex.get(), 0, &code));
    if (begin < end) found.push_back({begin, end});
  }
  if (U_FAILURE(code)) {
    return refuse(fmt::format("the pattern \"{}\" takes too many steps on a text of {} ({})",
                              printable(compiled_->text, 200),
                              show_bytes(static_cast<uint64_t>(text.size())), u_errorName(code)));
  }
  return found;
}

struct NormalForm::Rule {
  icu::UnicodeSet characters;
  icu::FilteredNormalizer2 normalizer;

  Rule(const icu::Normalizer2& all, const icu::UnicodeSet& known)
      : characters(known), normalizer(all, characters) {}
};

Result<NormalForm> NormalForm::make(Kind kind) {
  UErrorCode code = U_ZERO_ERROR;
  const icu::UnicodeSet known(UNICODE_STRING_SIMPLE("[:age=9.0:]"), code);
  const icu::Normalizer2* all = nullptr;
  if (kind == Kind::kNfc) all = icu::Normalizer2::getNFCInstance(code);
  if (kind == Kind::kNfd) all = icu::Normalizer2::getNFDInstance(code);
  if (kind == Kind::kNfkc) all = icu::Normalizer2::getNFKCInstance(code);
  if (kind == Kind::kNfkd) all = icu::Normalizer2::getNFKDInstance(code);
  if (U_FAILURE(code)) {
    return system_error(fmt::format("ICU's tables cannot be read ({}).", u_errorName(code)));
  }
  NormalForm form;
  form.rule_ = std::make_shared<const Rule>(*all, known);
  return form;
}

Result<std::string> NormalForm::of(std::string_view text) const {
  UErrorCode code = U_ZERO_ERROR;
  std::string out;
  icu::StringByteSink<std::string> sink(&out);
  rule_->normalizer.normalizeUTF8(0, {text.data(), static_cast<int32_t>(text.size())}, sink,
                                  nullptr, code);
  if (U_SUCCESS(code)) return out;
  return refuse(fmt::format("a text of {} has no normal form ({})",
                            show_bytes(static_cast<uint64_t>(text.size())), u_errorName(code)));
}

std::string small_letters(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto [code, bytes] = character_at(text, at);
    at += bytes;
    if (code == U'İ') {  // the only one whose small letter is two characters
      out += "i\u0307";
    } else {
      append_character(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(code))));
    }
  }
  return out;
}

Character character_at(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = std::min<size_t>(lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4, text.size() - at);
  char32_t code = lead & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) code = code << 6 | (text[at + i] & 0x3F);
  return {code, bytes};
}

Character character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (text[begin] & 0xC0) == 0x80) --begin;
  return character_at(text, begin);
}

void append_character(std::string& text, char32_t code) {
  char bytes[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, code);
  text.append(bytes, length);
}

bool is_white_space(char32_t code) { return u_isUWhiteSpace(static_cast<UChar32>(code)); }

bool is_word(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  const uint32_t kinds = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_isUAlphabetic(c) || (U_GET_GC_MASK(c) & kinds) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool is_numeric(char32_t code) {
  return (U_GET_GC_MASK(static_cast<UChar32>(code)) & U_GC_N_MASK) != 0;
}

bool is_punctuation(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  if (code < 0x80) return code > 0x20 && code < 0x7F && !u_isalnum(c);
  if (code == 0x166D || code == 0x111C9) return true;  // they became signs and marks later
  UVersionInfo since;
  u_charAge(c, since);
  return (U_GET_GC_MASK(c) & U_GC_P_MASK) != 0 && since[0] <= 8;
}

}  // namespace hieron
