#include "hieron/hub/protocol.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "hieron/core/text.h"

namespace hieron {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostFiles = 1'000'000;

std::string quoted(std::string_view text, std::string_view safe) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '_' || c == '.' || c == '-' || c == '~' ||
                       safe.find(c) != safe.npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

std::unexpected<Error> not_understood(const std::string& from) {
  return system_error(
      fmt::format("{}: the answer is not what a hub sends. Check HF_ENDPOINT.", from), from);
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<uint64_t> count_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return {};
  return found->get<uint64_t>();
}

// A path of a repository becomes part of a path on this disk.
bool stays_inside(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.front() == '/' || path.back() == '/' ||
      has_control_or_bidi(path) || path.find('\\') != path.npos || path.find('\0') != path.npos) {
    return false;
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

// An ETag becomes the name of a file in the cache.
bool plain_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  });
}

Result<HubFile> file_of(const Json& entry, const char* path_key, const char* id_key,
                        const char* sha_key, const std::string& from) {
  HubFile file{.path = text_at(entry, path_key), .etag = text_at(entry, id_key), .sha256 = {}};
  if (!stays_inside(file.path)) {
    return system_error(fmt::format("{}: the hub lists a file \"{}\", whose path leads out of the "
                                    "repository; nothing was fetched.",
                                    from, printable(file.path)),
                        from);
  }
  file.bytes = count_at(entry, "size").value_or(0);
  const auto lfs = entry.find("lfs");
  if (lfs != entry.end() && lfs->is_object()) {
    const std::string sha = text_at(*lfs, sha_key);
    if (is_sha256(sha)) file.sha256 = file.etag = sha;
    file.bytes = count_at(*lfs, "size").value_or(file.bytes);
  }
  if (!plain_name(file.etag)) file.etag.clear();
  return file;
}

}  // namespace

void set_identity(HubFile& file, const std::string& etag, std::string_view bytes) {
  if (plain_name(etag)) file.etag = etag;
  if (is_sha256(etag)) file.sha256 = etag;
  uint64_t size = 0;
  const auto [end, error] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), size);
  if (error == std::errc() && end == bytes.data() + bytes.size()) file.bytes = size;
}

std::string resolve_url(const std::string& endpoint, const std::string& repo,
                        std::string_view revision, std::string_view path) {
  return fmt::format("{}/{}/resolve/{}/{}", endpoint, repo, quoted(revision, ""),
                     quoted(path, "/"));
}

std::string revision_url(const std::string& endpoint, const std::string& repo,
                         std::string_view revision) {
  return fmt::format("{}/api/models/{}/revision/{}", endpoint, repo, quoted(revision, ""));
}

std::string tree_url(const std::string& endpoint, const std::string& repo,
                     std::string_view commit) {
  return fmt::format("{}/api/models/{}/tree/{}?recursive=true&expand=false", endpoint, repo,
                     quoted(commit, ""));
}

Result<RevisionInfo> parse_revision_info(std::string_view json, const std::string& from) {
  const Json answer = Json::parse(json, nullptr, false);
  if (!answer.is_object()) return not_understood(from);
  RevisionInfo info{.commit = text_at(answer, "sha"), .repo = text_at(answer, "id"), .files = {}};
  if (!is_commit(info.commit)) return not_understood(from);
  const auto siblings = answer.find("siblings");
  if (siblings == answer.end() || !siblings->is_array()) return info;
  for (const Json& entry : *siblings) {
    if (!entry.is_object()) return not_understood(from);
    HIERON_TRY(HubFile file, file_of(entry, "rfilename", "blobId", "sha256", from));
    info.files.push_back(std::move(file));
  }
  return info;
}

Result<std::vector<HubFile>> parse_tree_page(std::string_view json, const std::string& from) {
  const Json answer = Json::parse(json, nullptr, false);
  if (!answer.is_array() || answer.size() > kMostFiles) return not_understood(from);
  std::vector<HubFile> files;
  for (const Json& entry : answer) {
    if (!entry.is_object()) return not_understood(from);
    if (text_at(entry, "type") != "file") continue;
    HIERON_TRY(HubFile file, file_of(entry, "path", "oid", "oid", from));
    files.push_back(std::move(file));
  }
  return files;
}

// <https://…>; rel="next", <…>; rel="last"
std::string next_page(std::string_view link) {
  while (!link.empty()) {
    const size_t open = link.find('<');
    const size_t close = open == link.npos ? link.npos : link.find('>', open);
    if (close == link.npos) return {};
    const size_t end = std::min(link.find('<', close), link.size());
    const std::string_view about = link.substr(close, end - close);
    if (about.find("rel=\"next\"") != about.npos || about.find("rel=next") != about.npos) {
      return std::string(link.substr(open + 1, close - open - 1));
    }
    link.remove_prefix(end);
  }
  return {};
}

std::unexpected<Error> hub_failure(const HttpHead& head, const HubReference& model,
                                   const std::string& file, bool has_token) {
  const std::string_view code = head.header("x-error-code");
  const std::string hub = origin_of(head.url);
  const std::string& repo = model.repo;
  const auto say = [&](std::string sentence) { return system_error(std::move(sentence), repo); };
  if (code == "GatedRepo") {
    return say(fmt::format(
        "{} is gated: its owner lets in only those who have asked. Ask for "
        "access on {}/{}, then {}.",
        repo, hub, repo,
        has_token ? "try again with the same token" : "set HF_TOKEN to a token of that account"));
  }
  if (code == "RevisionNotFound") {
    return say(
        fmt::format("{} has no revision \"{}\" on {}. Check the branch, tag or commit after "
                    "the @.",
                    repo, printable(model.revision_or_main()), hub));
  }
  if (code == "EntryNotFound") {
    return say(
        fmt::format("{} has no file \"{}\" in revision {} on {}. Check the name, or take "
                    "another revision.",
                    repo, printable(file), printable(model.revision_or_main()), hub));
  }
  const std::string_view message = head.header("x-error-message");
  if (head.status == 401 && has_token && code != "RepoNotFound" &&
      (message.empty() || message.find("credentials") != message.npos)) {
    return say(
        fmt::format("{} does not accept the token for {}. Check HF_TOKEN or the token file, "
                    "or log in again.",
                    hub, repo));
  }
  if (code == "RepoNotFound" || head.status == 401 || head.status == 404) {
    return say(fmt::format(
        "{} is not on {}, or it is private{}.", repo, hub,
        has_token ? " and the token may not read it. Check the name, and whose token it is"
                  : ". Check the name, or set HF_TOKEN to a token that may read it"));
  }
  if (head.status == 403) {
    return say(fmt::format(
        "{} refuses access to {} (status 403). {}.", hub, repo,
        has_token ? "Check what the token may read" : "Set HF_TOKEN to a token that may read it"));
  }
  const std::string what = file.empty() ? repo : fmt::format("{}/{}", repo, printable(file));
  return http_failure(head, what);
}

}  // namespace hieron
