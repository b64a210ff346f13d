#include "hieron/hub/reference.h"

#include <algorithm>
#include <cctype>

namespace hieron {
namespace {

constexpr size_t kMostOfAName = 96;  // characters

bool word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Letters, digits, _ - . ; no - or . at its ends.
bool valid_part(std::string_view part) {
  return !part.empty() && word(part.front()) && word(part.back()) &&
         std::ranges::all_of(part, [](char c) { return word(c) || c == '-' || c == '.'; });
}

bool valid_repo(std::string_view repo) {
  const size_t slash = repo.find('/');
  const bool parts = slash == repo.npos
                         ? valid_part(repo)
                         : valid_part(repo.substr(0, slash)) && valid_part(repo.substr(slash + 1));
  return parts && repo.size() <= kMostOfAName && repo.find("--") == repo.npos &&
         repo.find("..") == repo.npos && !repo.ends_with(".git");
}

// As git has it, roughly: no space, no control character, no ".." (it becomes part of a path).
bool valid_revision(std::string_view revision) {
  const auto part_of_name = [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != 0x7f && c != '\\' && c != '?' && c != '*' &&
           c != '[' && c != '~' && c != '^' && c != ':';
  };
  return !revision.empty() && revision.size() <= 255 &&
         std::ranges::all_of(revision, part_of_name) && revision.find("..") == revision.npos &&
         revision.front() != '/' && revision.back() != '/' &&
         revision.find("//") == revision.npos && revision.front() != '.' &&
         revision.find("/.") == revision.npos;
}

bool hex_of(std::string_view text, size_t digits) {
  return text.size() == digits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

const std::string& HubReference::revision_or_main() const {
  static const std::string main = "main";
  return revision.empty() ? main : revision;
}

std::optional<HubReference> parse_hub_reference(std::string_view text) {
  constexpr std::string_view kScheme = "hf://";
  const bool by_scheme = text.starts_with(kScheme);
  if (by_scheme) text.remove_prefix(kScheme.size());
  const size_t at = text.find('@');
  const std::string_view repo = text.substr(0, at);
  if (!valid_repo(repo) || (!by_scheme && repo.find('/') == repo.npos)) return {};
  if (at == text.npos) return HubReference{std::string(repo), {}};
  const std::string_view revision = text.substr(at + 1);
  if (!valid_revision(revision)) return {};
  return HubReference{std::string(repo), std::string(revision)};
}

bool is_commit(std::string_view text) { return hex_of(text, 40); }
bool is_sha256(std::string_view text) { return hex_of(text, 64); }

}  // namespace hieron
